import json
from datetime import date
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from florence_rag.sources.io.sidecar_metadata import SidecarMetadata, caption_from, likely_caption, metadata_from
from florence_rag.types import ITEM_IMAGE, PERCEPTUAL_HASH

PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.binary(max_size=9)
VALUES = PLAIN | st.dates() | st.decimals() | st.lists(PLAIN, max_size=3) | st.dictionaries(st.text(max_size=3), PLAIN)


@given(st.dictionaries(st.text(max_size=9), VALUES, max_size=4))
def test_metadata_are_json_for_any_table(values):
    assert json.loads(json.dumps(metadata_from(values), allow_nan=False)) is not None


def test_metadata_hold_what_json_represents():
    values = {"city": "Rome", "on": date(2020, 1, 2), "price": Decimal("1.5"), "raw": b"x", "no": None}
    assert metadata_from(values) == {"city": "Rome", "on": "2020-01-02", "price": 1.5}
    assert metadata_from({"vector": [0.1] * 768, "tags": ["a", "b"]}) == {"tags": ["a", "b"]}


def test_reserved_names_are_renamed():
    assert metadata_from({ITEM_IMAGE: {"file": "/etc/passwd"}, PERCEPTUAL_HASH: "x"}) == {
        "item_image_": {"file": "/etc/passwd"},
        "perceptual_hash_": "x",
    }


def test_captions_are_found_by_name_and_read_from_texts():
    assert likely_caption(["id", "TEXT", "Caption"]) == "Caption"
    assert likely_caption(["id", "URL"]) == ""
    assert caption_from(" a cat ") == "a cat"
    assert caption_from(["a cat", "an animal"]) == "a cat\nan animal"
    assert caption_from(7) == ""


def test_an_image_without_sidecar_has_no_digest_input():
    assert SidecarMetadata().digest_input == b""
    assert SidecarMetadata("a").digest_input != SidecarMetadata(metadata={"a": 1}).digest_input
