import math

import numpy as np
import pytest

from florence_rag.errors import InputError
from florence_rag.index.rows import checked_uri, checked_vectors, chunk_to_row, row_to_hit
from florence_rag.text_arguments import MAX_TEXT_BYTES
from florence_rag.types import Chunk, Locator


def test_a_row_becomes_the_hit_of_its_chunk(source, unit):
    locator = Locator(page=3, box=(0.0, 0.1, 0.5, 1.0), start_s=1.5, end_s=2.5, span=(3, 9))
    chunk = Chunk(source(), "page", locator, "text", "caption", "ocr", metadata={"a": [1, {"b": None}]})
    hit = row_to_hit(chunk_to_row(chunk, unit()[0]), 0.5)
    assert (hit.id, hit.kind, hit.source, hit.locator, hit.score) == (chunk.id, "page", chunk.source.uri, locator, 0.5)
    assert (hit.text, hit.caption, hit.ocr, hit.metadata) == ("text", "caption", "ocr", {"a": [1, {"b": None}]})


def test_all_words_of_a_chunk_are_terms(source, unit):
    row = chunk_to_row(Chunk(source(), "page", text="a text", caption="one caption", ocr="03-17"), unit()[0])
    assert {"text", "caption", "03", "17"} <= set(row["terms"].split())


def test_long_texts_are_cut_to_what_milvus_takes_in_bytes(source, unit):
    row = chunk_to_row(Chunk(source(), "text", text="夜" * 30_000, caption="x", ocr="é" * 65_535), unit()[0])
    for name in ("text", "ocr", "terms"):
        assert MAX_TEXT_BYTES - 8 < len(row[name].encode()) <= MAX_TEXT_BYTES
    assert row["caption"] == "x"


def test_metadata_becomes_plain_json(source, unit):
    metadata = {
        "number": np.float32(0.5),
        "array": np.arange(3),
        "tuple": (1, 2),
        "nan": math.nan,
        "huge": 10**400,
        3: "\ud800",
        "none": None,
        "yes": True,
    }
    row = chunk_to_row(Chunk(source(), "text", metadata=metadata), unit()[0])
    assert row["metadata"] == {
        "number": 0.5,
        "array": [0, 1, 2],
        "tuple": [1, 2],
        "nan": None,
        "huge": str(10**400),
        "3": "\ufffd",
        "none": None,
        "yes": True,
    }


def test_metadata_that_is_not_json_or_too_long_is_refused(source, unit):
    with pytest.raises(InputError, match=r"""the metadata of '/photos/a.jpg'\["a"\]\[0\] is <object"""):
        chunk_to_row(Chunk(source(), "text", metadata={"a": [object()]}), unit()[0])
    with pytest.raises(InputError, match=r"take 7001. bytes, of which 'a' takes 70002; allowed are 65536"):
        chunk_to_row(Chunk(source(), "text", metadata={"a": "x" * 70_000, "b": 1}), unit()[0])
    with pytest.raises(InputError, match="must be a mapping"):
        chunk_to_row(Chunk(source(), "text", metadata=["a"]), unit()[0])


@pytest.mark.parametrize("uri", ["", "x" * 8_193, "夜" * 2_731])
def test_a_name_that_would_have_to_be_cut_is_refused(uri):
    with pytest.raises(InputError, match="allowed are 1 to 8192"):
        checked_uri(uri)


@pytest.mark.parametrize(
    ("vectors", "says"),
    [
        ([[1.0, 0.0, 0.0]], r"the shape \(1, 3\); needed is \(1, 2\)"),
        ([1.0, 0.0], r"the shape \(2,\)"),
        ([[1.0, 0.0], [1.0, 0.0]], r"the shape \(2, 2\)"),
        ([[math.nan, 0.0]], "finite"),
        ([[math.inf, 0.0]], "finite"),
        ([[0.0, 0.0]], "unit length"),
        ([[3.0, 4.0]], "unit length"),
    ],
)
def test_only_finite_unit_vectors_of_the_right_shape_pass(vectors, says):
    with pytest.raises(InputError, match=says):
        checked_vectors(np.array(vectors), 1, 2)


def test_vectors_become_float32():
    assert checked_vectors(np.array([[0.6, 0.8]]), 1, 2).dtype == np.float32
