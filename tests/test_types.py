import pytest

from florence_rag.types import Chunk, Source, is_chunk_id


def test_derived_ids_have_the_form_of_chunk_ids():
    source = Source("/a.jpg", "image", 1, 1, "hash")
    assert is_chunk_id(Chunk(source, "image").id)


@pytest.mark.parametrize("text", ["", "0" * 31, "0" * 33, "F" * 32, "g" * 32, "0" * 32 + "\n", "/a.jpg"])
def test_other_texts_are_no_chunk_ids(text):
    assert not is_chunk_id(text)
