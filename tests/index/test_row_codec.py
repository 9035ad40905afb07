import numpy as np
import pytest

from florence_rag.index.row_codec import RowCodec


@pytest.mark.parametrize("vector_dtype,loss", [("fp32", 1e-7), ("fp16", 1e-6), ("bf16", 3e-5)])
@pytest.mark.parametrize("dimension", [8, 768])
def test_a_decoded_vector_has_the_same_direction(unit, vector_dtype, loss, dimension):
    form = RowCodec(vector_dtype)
    full = unit(200, dimension=dimension)
    back = np.array([form.decode_vector(form.encode({"vector": each})["vector"]) for each in full])
    assert back.dtype == np.float32
    cosines = (back * full).sum(1) / np.linalg.norm(back, axis=1)
    assert (1 - cosines).max() < loss


@pytest.mark.parametrize("vector_dtype", ["fp16", "bf16"])
def test_half_precision_moves_no_cosine_much(unit, vector_dtype):
    form, full, queries = RowCodec(vector_dtype), unit(500, dimension=512), unit(20, seed=9, dimension=512)
    half = np.array([form.decode_vector(form.encode({"vector": each})["vector"]) for each in full])
    decoded = np.array([form.decode_vector(form.to_dtype(each)) for each in queries])
    assert np.abs(decoded @ half.T - queries @ full.T).max() < (2e-4 if vector_dtype == "fp16" else 1.5e-3)


@pytest.mark.parametrize("vector_dtype,width", [("fp16", 2), ("bf16", 2)])
def test_both_vectors_are_sent_as_bytes_of_half_the_width(unit, vector_dtype, width):
    row = {"id": "a", "vector": unit()[0], "text_vector": unit(dimension=4)[0]}
    stored = RowCodec(vector_dtype).encode(row)
    assert (len(stored["vector"]), len(stored["text_vector"])) == (8 * width, 4 * width)
    assert stored["id"] == "a"
    assert row["vector"].dtype == np.float32, "the caller's row stays as it is"


@pytest.mark.parametrize("vector_dtype,dtype", [("fp16", "float16"), ("bf16", "bfloat16")])
def test_the_type_of_a_query_shows_its_precision(unit, vector_dtype, dtype):
    assert RowCodec(vector_dtype).to_dtype(unit()[0]).dtype.name == dtype
    assert RowCodec().to_dtype(unit()[0]).dtype == np.float32
