"""Damaged records of every kind become errors that name the database and what to do."""

import json
from contextlib import suppress
from dataclasses import asdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from florence_rag.errors import FlorenceError, StoreCorruptError
from florence_rag.index.answer_store import row_to_answer
from florence_rag.index.base import CachedAnswer
from florence_rag.index.bulk.export import BulkFiles, read_manifest
from florence_rag.index.ledger import Entry, Settings, read_record, record_id
from florence_rag.index.records import FAULTS, damage_reported, parse, with_checksum
from florence_rag.index.rows import chunk_to_row, row_to_hit
from florence_rag.types import Chunk, EmbedderInfo, Hit, Locator, Skipped, Source

EMBEDDER = EmbedderInfo("colors", "0123456789abcdef", 8, "48 px")
SOURCE = Source("/photos/caf\udce9.jpg", "image", 1, 2, "hash")
ENTRY = Entry(SOURCE.uri, "partial", SOURCE, {"image": 2}, skipped=(Skipped(SOURCE.uri, "page", Locator(page=2)),))
SETTINGS = Settings(EMBEDDER, shadow_embedder=EMBEDDER, text_embedder=EMBEDDER)
ANSWER = CachedAnswer("id", "m", "/a", "d", "s", "q?", "q", "red", 0.5, (("blue", 0.2),), "2026-01-01")
FOLDER_ROW = {
    "id": record_id("folder\0/p"),
    "state": "folder",
    "body": with_checksum({"uri": "/p", "skipped": {".mp3": 2}}, "folder"),
}

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def mutated(draw, value):
    """Replace a value, add or remove a key, or change something inside."""
    if draw(st.integers(0, 3)) == 0 or not isinstance(value, dict | list) or not value:
        return draw(VALUES)
    key = draw(st.sampled_from(list(value) if isinstance(value, dict) else range(len(value))))
    changed = value.copy()
    match draw(st.integers(0, 3)):
        case 0:
            del changed[key]
        case 1 if isinstance(changed, dict):
            changed[draw(st.text(max_size=5))] = draw(VALUES)
        case _:
            changed[key] = draw(mutated(value[key]))
    return changed


@st.composite
def damaged_text(draw, text):
    """Mutate the JSON of a record, or its characters."""
    if draw(st.booleans()):
        return json.dumps(draw(mutated(json.loads(text))))
    at = draw(st.integers(0, len(text)))
    return (
        text[:at]
        + draw(st.sampled_from(["", "\0", "[" * 100_000, "9" * 5_000, '"', "\udcff", "NaN", "1e999"]))
        + (text[at + draw(st.integers(0, 9)) :] if draw(st.booleans()) else "")
    )


def reading(row, read):
    with suppress(StoreCorruptError), damage_reported("the record", "a.db"):
        return read(row)


ROWS = [(ENTRY.to_row(), read_record), (SETTINGS.to_row(), read_record), (FOLDER_ROW, read_record)]


@pytest.mark.parametrize("row,read", ROWS, ids=["entry", "settings", "folder"])
@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_damaged_record_of_the_ledger_is_refused_or_still_usable(row, read, data):
    body = data.draw(damaged_text(row["body"]) | st.sampled_from([None, 3, b"x", []]))
    state = data.draw(st.sampled_from([row["state"], "complete", "complet", "", None]))
    with suppress(FlorenceError):  # a version of the settings that is too new
        record = reading(row | {"body": body, "state": state}, read)
        if isinstance(record, Entry):
            assert record.rows >= 0 and record.to_row()["id"] == row["id"]
            assert isinstance(record.source, Source | None) and isinstance(record.reason, str)
        elif isinstance(record, Settings):
            assert isinstance(record.embedder.dimension, int)
            assert record.check("a", EMBEDDER, EMBEDDER, "fp32") is None


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_damaged_answer_is_refused_or_still_usable(data):
    body = data.draw(damaged_text(json.dumps(asdict(ANSWER))))
    answer = reading({"id": "id", "body": body}, row_to_answer)
    assert answer is None or (isinstance(answer.answer, str) and all(len(each) == 2 for each in answer.candidates))


@settings(max_examples=200, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_damaged_row_is_refused_or_still_usable(unit, data):
    row = chunk_to_row(Chunk(SOURCE, "page", Locator(2, (0.0, 0.5, 1.0, 1.0)), metadata={"a": 1}), unit()[0])
    field = data.draw(st.sampled_from(["locator", "metadata", "kind", "source"]))
    value = data.draw(mutated(row[field]) | VALUES)
    if isinstance(hit := reading(row | {field: value}, row_to_hit), Hit):
        assert isinstance(str(hit.locator), str) and json.dumps(hit.to_dict())


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_damaged_manifest_of_an_export_is_refused_or_still_usable(tmp_path, data):
    files = BulkFiles(EMBEDDER, None, "fp32", 3, 2, ("chunks/00000.parquet",), ("ledger/00000.parquet",))
    text = data.draw(damaged_text(json.dumps(files.to_dict())))
    (tmp_path / "index.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with suppress(FlorenceError):
        assert all(".." not in name for name in read_manifest(tmp_path).chunks)


@pytest.mark.parametrize("body", ['{"uri": 3}', "", "nul", '{"a": ' * 9_000, "[]", "9" * 10_000])
def test_the_error_names_the_database_and_the_commands(index, db, body):
    row = Entry("/a", "failed").to_row()
    index.chunks.connection.upsert(index.chunks.ledger.name, [row | {"body": body}])
    with pytest.raises(StoreCorruptError) as caught:
        index.failures()
    assert "\n" not in str(caught.value)
    assert f"record {row['id']!r} in {db} cannot be read (" in str(caught.value)
    assert f"`florence-rag check --db {db}` lists all damage, and `florence-rag repair`" in str(caught.value)


@pytest.mark.parametrize("row", [ENTRY.to_row(), SETTINGS.to_row(), FOLDER_ROW], ids=["entry", "settings", "folder"])
def test_each_changed_bit_of_a_record_is_found(row):
    assert read_record(row)
    for at in range(len(row["body"])):
        for bit in range(7):
            body = bytearray(row["body"].encode())
            body[at] ^= 1 << bit
            with suppress(*FAULTS):
                found = read_record(row | {"body": body.decode()})
                assert found == read_record(row), "only the name of the checksum has changed"
    with pytest.raises(FAULTS):
        read_record(row | {"state": "begun"})


def test_a_changed_answer_is_found():
    assert row_to_answer({"body": with_checksum(asdict(ANSWER))}) == ANSWER
    with pytest.raises(ValueError, match="its checksum does not fit"):
        row_to_answer({"body": with_checksum(asdict(ANSWER)).replace("red", "rod")})


def test_records_of_older_versions_have_no_checksum():
    body = json.loads(ENTRY.to_row()["body"])
    del body["checksum"]
    assert read_record(ENTRY.to_row() | {"body": json.dumps(body)}) == ENTRY


def test_unknown_keys_of_a_later_version_are_ignored():
    assert parse('{"page": 2, "volume": 3}', Locator) == Locator(2)
    with pytest.raises(FAULTS):
        parse('{"page": "2"}', Locator)
