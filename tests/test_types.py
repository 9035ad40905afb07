from dataclasses import replace

import pytest

from florence_rag.types import Chunk, Hit, Locator, Source, is_chunk_id, replace_fields


def test_derived_ids_have_the_form_of_chunk_ids():
    source = Source("/a.jpg", "image", 1, 1, "hash")
    assert is_chunk_id(Chunk(source, "image").id)


@pytest.mark.parametrize("text", ["", "0" * 31, "0" * 33, "F" * 32, "g" * 32, "0" * 32 + "\n", "/a.jpg"])
def test_other_texts_are_no_chunk_ids(text):
    assert not is_chunk_id(text)


def test_a_changed_copy_of_a_hit_has_all_other_fields():
    hit = Hit("1", "image", "/a.jpg", Locator(page=2), 0.5, "text", "caption", "ocr", "why", {"a": 1}, (), True, 0.9)
    changes = {"score": 0.7, "explanation": "other", "grouped_hits": (hit,)}
    assert replace_fields(hit, **changes) == replace(hit, **changes) and hit.score == 0.5
