import json

import numpy as np
import pytest

from florence_rag.errors import StoreCorruptError
from florence_rag.index.checksum import CHECKSUM, row_checksum, verify
from florence_rag.index.milvus import MilvusIndex
from florence_rag.index.row_codec import RowCodec
from florence_rag.index.rows import chunk_to_row
from florence_rag.types import Chunk, EmbedderInfo, Locator, Source
from tests.index.damaged_rows import flip

METADATA = {
    "float": 0.1 + 0.2,
    "numbers": [1.0, -0.0, 5e-324, 1.7976931348623157e308, 2**53 + 1, 2**63 - 1, None, True],
    "nested": {"b": {"c": "夜景\0😀"}, "a": {}, "empty": []},
}


@pytest.fixture
def row(unit):
    chunk = Chunk(
        Source(b"/caf\xe9.mp4".decode("utf-8", "surrogateescape"), "video", 1, 1, "a"),
        "clip",
        Locator(start_s=3, end_s=1 / 3, box=(0.1, 1 / 3, 0.5, 1.0)),
        "transcript",
        "a red car",
        "STOP",
        metadata=METADATA,
    )
    vector = unit()[0]
    vector[:2] = 1e-42, -0.0  # a subnormal number and a negative zero keep their bits, too
    return chunk_to_row(chunk, vector, unit(dimension=4)[0])


@pytest.mark.parametrize("codec", [RowCodec(), RowCodec(flat=True), RowCodec("fp16"), RowCodec("bf16")])
def test_an_encoded_row_fits_its_checksum(codec, row):
    stored = codec.encode(row)
    decoded = stored | {name: codec.decode_vector(stored[name]) for name in ("vector", "text_vector")}
    assert verify(decoded) == "intact"
    assert verify(json.loads(json.dumps(decoded, default=np.ndarray.tolist))) == "intact"


@pytest.mark.filterwarnings("ignore:.+ has 1 chunks where its ledger lists 0")
@pytest.mark.parametrize("server", [False, True])
def test_a_row_has_the_same_bits_after_a_restart(server, db, engine_uri, row):
    embedder = EmbedderInfo("colors", "0123456789abcdef", 8, "48 px")
    text_embedder = EmbedderInfo("words", "fedcba9876543210", 4, "")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("florence_rag.index.store_client.server_problem", lambda version: "")
        for _ in range(2):
            uri = engine_uri if server else db
            with MilvusIndex.open(uri, embedder, text_embedder=text_embedder) as index:
                if index.chunks.connection.count(index.chunks.name) == 0:
                    index.load_rows([row])
                (stored,) = index.chunks.connection.rows(index.chunks.name, ["*"])
                assert verify(stored) == "intact"
                assert index.chunks.whole_rows([row["id"]])[0]["metadata"] == METADATA


CHANGES = [
    *((field, "content") for field in ("id", "source", "kind", "locator", "text", "caption", "ocr", "metadata")),
    *((field, "derived") for field in ("page", "start_s", "end_s", "terms", "has_text_vector")),
    *((field, "derived") for field in ("vector", "text_vector")),
]


@pytest.mark.parametrize("field,verdict", CHANGES)
def test_a_change_of_any_field_is_found(row, field, verdict):
    row |= {CHECKSUM: row_checksum(row)}
    value = row[field]
    if isinstance(value, np.ndarray):
        changed = value.copy()
        changed.view(np.uint8)[0] ^= 1
    elif isinstance(value, dict):
        changed = value | {"x": 1}
    else:
        changed = not value if isinstance(value, bool) else f"{value}x" if isinstance(value, str) else (value or 0) + 1
    assert verify(row | {field: changed}) == verdict


@pytest.mark.parametrize(
    "checksum,verdict", [("", "unknown"), (None, "unknown"), ("0" * 32, "content"), (7, "content")]
)
def test_a_missing_and_a_wrong_checksum(row, checksum, verdict):
    assert verify(row | {CHECKSUM: checksum}) == verdict


def test_a_damaged_row_gets_no_new_checksum(index, put):
    put(index, "/a", n=2)
    (first, *_) = index.find()
    flip(index, first.id, text="flipped")
    with pytest.raises(StoreCorruptError, match=r"its checksum does not fit.*florence-rag check --db .+test\.db"):
        index.update_metadata({first.id: {"city": "Rome"}})
    assert len(index.get([first.id])) == 1, "searches do not verify rows"
