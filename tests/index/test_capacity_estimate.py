import pytest
from hypothesis import given
from hypothesis import strategies as st

from florence_rag.errors import InputError
from florence_rag.index.capacity_estimate import SIZES, Assumptions, assume, indexing_cost, search_costs
from florence_rag.index.index_types import available_index_types, index_types


def by_name(images, assumptions=None):
    return {each.index: each for each in search_costs(images, assumptions or Assumptions())}


def test_hours_of_gpus_follow_from_operations():
    assumed = Assumptions(gflop_per_image=36, gpu_tflops=100, gpu_utilization=0.36, decode_core_s=0.01, read_core_s=0)
    cost = indexing_cost(3_600_000, assumed)
    assert cost.gpu_h == pytest.approx(1)
    assert cost.core_h == pytest.approx(10)
    assert cost.usd == pytest.approx(assumed.gpu_usd_h + 10 * assumed.core_usd_h)


def test_every_index_that_can_be_chosen_is_estimated():
    assert [*by_name(10**6), "AUTOINDEX"] == available_index_types()


def test_a_flat_index_takes_its_vectors_and_rows():
    assumed = Assumptions(dimension=1000, row_bytes=0, terms=0, headroom=1)
    flat = by_name(10**6, assumed)["FLAT"]
    assert flat.memory_gb == pytest.approx(4)
    assert flat.object_gb == pytest.approx(8), "the rows, and the index"
    assert by_name(10**6, assume({"vector_dtype": "fp16"}, assumed))["FLAT"].memory_gb == pytest.approx(2)


@pytest.mark.parametrize("name", [name for name in available_index_types() if name != "AUTOINDEX"])
def test_all_costs_grow_with_the_images(name):
    small, large = (by_name(size)[name] for size in SIZES[:2])
    assert large.disk_gb == pytest.approx(100 * small.disk_gb)
    assert large.memory_gb == pytest.approx(100 * small.memory_gb)
    assert large.usd_month > 90 * small.usd_month or index_types()[name].gpu
    if index_types()[name].core_us_to_build is not None:
        assert large.search_core_ms > 50 * small.search_core_ms
        assert large.build_core_h == pytest.approx(100 * small.build_core_h)
    else:
        assert large.search_core_ms is None


def test_larger_segments_make_searches_of_graphs_cheaper():
    few = by_name(10**9, Assumptions(segment_gib=16))["HNSW"]
    many = by_name(10**9)["HNSW"]
    assert few.segments * 16 == pytest.approx(many.segments, rel=0.01)
    assert few.search_core_ms < many.search_core_ms / 8


def test_only_indexes_of_gpus_take_their_memory():
    assert {name for name, need in by_name(10**6).items() if need.gpu_memory_gb} == {
        name for name in available_index_types() if index_types()[name].gpu
    }


@pytest.mark.parametrize(
    "changes,message",
    [
        ({"dimensions": "3"}, "'dimensions' is not an assumption; there are chunks_per_image, dimension"),
        ({"dimension": "many"}, "dimension is 'many', which is not a number"),
        ({"dimension": "0"}, "dimension is 0; it must be above 0"),
        ({"headroom": "nan"}, "headroom is nan; it must be above 0"),
        ({"core_usd_h": "-1"}, "core_usd_h is -1.0; it must be 0 or more"),
        ({"vector_dtype": "int4"}, "vector_dtype is 'int4'; use fp32, fp16, bf16"),
    ],
)
def test_wrong_assumptions_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        assume(changes)


@given(st.integers(1, 10**12), st.integers(1, 4096), st.sampled_from(["fp32", "fp16", "bf16"]))
def test_no_size_breaks_the_model(images, dimension, vectors):
    for need in search_costs(images, Assumptions(dimension=dimension, vector_dtype=vectors)):
        assert need.usd_month > 0
        assert need.memory_gb > 0
