import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from milvus_lite.storage.wal import WAL

from florence_rag.errors import InputError, StoreError, StoreMismatchError
from florence_rag.index import writer as module
from florence_rag.types import Chunk, Source, item_uri
from tests.databases import SERVER


@pytest.fixture
def calls(index, monkeypatch):
    """Records the calls to the store, in order: ("upsert", collection, rows), ("flush", collection, 0), ..."""
    seen = []
    client = index.chunks.connection.client
    for name in ("upsert", "delete", "flush"):
        real = getattr(client, name)

        def spy(collection, *rest, name=name, real=real, **options):
            size = len(rest[0]) if name == "upsert" else 0
            seen.append((name, collection.removeprefix("florence") or "chunks", size))
            return real(collection, *rest, **options)

        monkeypatch.setattr(client, name, spy)
    return seen


@pytest.fixture
def put_item(unit):
    """Adds the item "1" with a text and metadata."""

    def put_one(index, text, metadata):
        source = Source(item_uri("1"), "text", 0, 0, text)
        chunk = Chunk(source, "text", text=text, metadata=metadata, custom_id="1")
        index.begin(source)
        index.add([chunk], unit())
        index.complete(source)

    return put_one


def test_many_sources_are_written_together_in_the_order_that_survives_a_kill(index, put, calls):
    for i in range(3):
        put(index, f"/{i}", n=2)
    assert calls == []
    index.flush_buffer()
    assert calls == [("upsert", "_ledger", 3), ("upsert", "chunks", 6), ("upsert", "_ledger", 3)]


def test_a_full_buffer_is_written(index, put, calls):
    put(index, "/a", n=module.BUFFER_ROWS)
    assert sum(rows for call, name, rows in calls if (call, name) == ("upsert", "chunks")) == module.BUFFER_ROWS


def test_the_sources_of_a_full_buffer_are_completed_with_the_rows_of_the_next(index, put, calls, monkeypatch):
    monkeypatch.setattr(module, "BUFFER_ROWS", 3)
    for i in range(6):
        put(index, f"/{i}")
    assert calls[:3] == [("upsert", "_ledger", 3), ("upsert", "chunks", 3), ("upsert", "_ledger", 3)]
    assert sorted(calls[3:]) == [("upsert", "_ledger", 2), ("upsert", "chunks", 3)]
    states = {entry.uri: entry.state for entry in index.chunks.ledger.entries()}
    assert states == dict.fromkeys(("/0", "/1"), "complete") | dict.fromkeys(("/2", "/3", "/4", "/5"), "begun")
    assert list(index.sources()) == [f"/{i}" for i in range(6)]


def test_a_source_may_be_replaced_in_the_next_full_buffer(index, put, put_item, monkeypatch):
    monkeypatch.setattr(module, "BUFFER_ROWS", 2)
    put(index, "/a", n=2, version=1)
    put(index, "/a", n=1, version=2)
    put_item(index, "old", {"city": "Rome"})
    put(index, "/b", n=2)
    put_item(index, "new", {})
    put(index, "/b", n=1, version=2)
    assert index.info().chunks == {"text": 3} and index.info().incomplete == ()
    assert index.chunks.connection.count("florence") == 3
    assert [hit.text for hit in index.get(["1"])] == ["new"]
    assert not index.chunks.check_integrity().damaged


def test_what_has_no_rows_is_recorded_in_one_write(index, source, calls):
    index.fail("/a", "the file is truncated")
    index.mark_duplicate(source("/b"), "/c")
    index.begin(source("/d"))
    index.complete(source("/d"))
    index.flush_buffer()
    assert calls == [("upsert", "_ledger", 3)]


def test_a_buffer_is_written_without_waiting_for_the_writes_of_other_machines(index, put, monkeypatch):
    levels, rows_of = [], index.chunks.connection.rows_of

    def recorded(collection, ids, fields, *, consistency=None):
        if collection == index.chunks.ledger.name and "settings" not in ids:
            levels.append(consistency)
        return rows_of(collection, ids, fields, consistency=consistency)

    monkeypatch.setattr(index.chunks.connection, "rows_of", recorded)
    for uri in ("/a", "/b", "/a", "/c"):
        put(index, uri)
        index.flush_buffer()
    assert levels == ["Bounded", "Bounded", "Session", "Bounded"], "its own writes must be seen"


def test_a_check_beside_a_write_refuses_it_before_its_sources_are_complete(index, put, monkeypatch):
    def replaced(*_):
        raise StoreMismatchError("was replaced")

    monkeypatch.setattr(type(index.chunks.connection), "is_sole_writer", False)
    monkeypatch.setattr(type(index.chunks.swap), "check", replaced)
    put(index, "/a")
    with pytest.raises(StoreMismatchError, match="was replaced"):
        index.flush_buffer()
    assert [entry.state for entry in index.chunks.ledger.entries()] == ["begun"]


@pytest.mark.lite
@pytest.mark.parametrize("flush_rows", [None, 1000])
def test_metadata_are_flushed_only_where_the_store_does_not_do_so_itself(index, put, calls, monkeypatch, flush_rows):
    put(index, "/a")
    (hit,) = index.find()
    monkeypatch.setattr(type(index.chunks.connection.profile), "flush_rows", flush_rows)
    index.update_metadata({hit.id: {"city": "Rome"}})
    assert [name for call, name, _ in calls if call == "flush"] == ([] if flush_rows is None else ["chunks"])


def test_an_old_buffer_is_written(index, put, calls, monkeypatch):
    put(index, "/a")
    assert calls == []
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + module.BUFFER_S + 1)
    put(index, "/b")
    assert ("upsert", "chunks", 2) in calls


@pytest.mark.lite
def test_lite_is_flushed_every_thousand_rows_and_at_the_end(index, put, calls):
    for i in range(5):
        put(index, f"/{i}", n=500)
    assert [call for call in calls if call[0] == "flush"] == [("flush", "chunks", 0)] * 2
    index.flush()
    assert [call[1] for call in calls if call[0] == "flush"][2:] == ["chunks", "_ledger"]


@pytest.mark.skipif(not SERVER, reason="counts the segments of the server that FLORENCE_TEST_MILVUS names")
def test_a_server_seals_many_rows_at_the_end_of_a_run(index, put):
    put(index, "/a", n=1000)
    index.flush_buffer()

    def sealed_rows() -> int:
        return sum(each.num_rows for each in index.chunks.connection.client.list_persistent_segments("florence"))

    assert sealed_rows() == 0
    index.flush()
    assert sealed_rows() == 1000


def test_large_writes_are_split(index, put, calls):
    put(index, "/a", n=1200)
    assert [size for name, where, size in calls if (name, where) == ("upsert", "chunks")] == [1000, 200]


def test_a_source_is_complete_only_after_complete(index, source, chunks, unit):
    one = source()
    index.begin(one)
    index.add(chunks(one, 2), unit(2))
    assert index.sources() == {}
    assert len(index.search_vector(unit()[0], 5)) == 2
    index.complete(one)
    assert index.sources() == {one.uri: one}


def test_beginning_again_drops_older_rows(index, put, source, unit):
    put(index, "/a", n=5, version=1)
    index.flush()
    put(index, "/a", n=2, version=2)
    assert index.sources()["/a"] == source("/a", 2)
    assert len(index.search_vector(unit()[0], 10)) == 2
    index.begin(source("/a", 3))
    assert index.sources() == {}
    assert index.search_vector(unit()[0], 10) == []


def test_beginning_again_before_anything_was_written_keeps_the_last(index, source, chunks, unit):
    for version in (1, 2):
        one = source(version=version)
        index.begin(one)
        index.add(chunks(one, 3 - version), unit(3 - version))
    index.complete(one)
    assert index.sources() == {one.uri: one}
    assert index.chunks.connection.count("florence") == 1


def test_a_batch_may_hold_chunks_of_several_sources(index, source, chunks, unit):
    both = [source("/a"), source("/b")]
    for one in both:
        index.begin(one)
    index.add([*chunks(both[0], 2), *chunks(both[1], 1)], unit(3))
    for one in both:
        index.complete(one)
    assert list(index.sources()) == ["/a", "/b"]
    assert index.info().chunks == {"text": 3}


def test_of_chunks_with_equal_ids_the_last_is_kept(index, source, unit):
    one = source()
    index.begin(one)
    first, second, third = (Chunk(one, "text", text=text) for text in ("first", "second", "third"))
    index.add([first, second], unit(2))
    index.flush_buffer()
    index.add([third], unit(1))
    index.complete(one)
    assert [hit.text for hit in index.get([first.id])] == ["third"]
    assert index.info().chunks == {"text": 1}


def test_texts_of_four_bytes_a_character_fit_by_their_bytes(index, unit):
    """Milvus Lite counts characters, a server bytes: both must store the same."""
    bus, id = "\N{BUS}", "\N{BUS}" * 128
    one = Source(item_uri(id), "text", 1, 1, "h")
    index.begin(one)
    texts = dict.fromkeys(("text", "caption", "ocr"), bus * 20_000)
    index.add([Chunk(one, "text", **texts, metadata={"tags": [bus * 9_000], bus: 1}, custom_id=id)], unit())
    index.complete(one)
    (hit,) = index.get([id])
    assert {hit.text, hit.caption, hit.ocr} == {bus * (65_535 // 4)}
    assert hit.metadata == {"tags": [bus * 9_000], bus: 1} and list(index.find(filter={bus: 1})) == [hit]
    longer = Source(item_uri(f"{id}x"), "text", 1, 1, "h")
    index.begin(longer)
    with pytest.raises(InputError, match="has 513 bytes; allowed are 512: shorten it"):
        index.add([Chunk(longer, "text", text="a", custom_id=f"{id}x")], unit())
    with pytest.raises(InputError, match="allowed are 1 to 8192"):
        index.begin(Source(f"/{bus * 2048}", "text", 1, 1, "h"))


@pytest.mark.parametrize("k", [16_384, 16_385])
def test_the_largest_number_of_hits_is_that_of_a_server(index, put, unit, k):
    put(index, n=3)
    searches = [lambda: index.search_vector(unit()[0], k), lambda: index.search_bm25("passage", k)]
    for search in searches if index.has_bm25 else searches[:1]:
        if k > 16_384:
            with pytest.raises(InputError, match="k is 16385; allowed are 1 to 16384"):
                search()
        else:
            assert len(search()) == 3


def test_a_source_may_have_no_chunks(index, source):
    index.begin(source())
    index.complete(source())
    assert index.sources() == {"/photos/a.jpg": source()}


@pytest.mark.parametrize("stopped_at", ["delete", "upsert"])
def test_a_stored_item_is_there_at_every_moment_of_its_replacement(index, put_item, monkeypatch, stopped_at):
    put_item(index, "old", {"city": "Rome"})
    index.flush_buffer()

    def stop(*_, **__):
        raise KeyboardInterrupt

    put_item(index, "new", {})
    with monkeypatch.context() as patch:  # what a kill at this call leaves
        patch.setattr(index.chunks.connection.client, stopped_at, stop)
        with suppress(KeyboardInterrupt):
            index.flush_buffer()
    rows = list(index.chunks.connection.rows("florence", ["id", "text"]))
    assert rows in ([{"id": "1", "text": "old"}], [{"id": "1", "text": "new"}])
    assert list(index.chunks.ledger.sources()) == ["item:1"]


def test_a_search_during_the_replacement_of_an_item_finds_the_older_one(index, put_item):
    put_item(index, "old", {})
    index.flush()
    index.begin(Source(item_uri("1"), "text", 0, 0, "new"))
    assert [hit.text for hit in index.get(["1"])] == ["old"]
    put_item(index, "new", {})
    assert [hit.text for hit in index.get(["1"])] == ["new"]
    assert index.info().incomplete == ()


@pytest.mark.lite
def test_a_replaced_item_keeps_no_metadata_of_the_older_one(index, put_item):
    put_item(index, "old", {"city": "Rome", "nested": {"a": 1}})
    index.flush_buffer()
    put_item(index, "new", {"year": 2024})
    assert [hit.text for hit in index.find()] == ["new"]
    assert index.get(["1"])[0].metadata == {"year": 2024}
    for filter in ('metadata["city"] == "Rome"', "$meta[\"metadata.city\"] == 'Rome'", {"city": "Rome"}):
        assert list(index.find(filter=filter)) == []
    assert [hit.id for hit in index.find(filter={"year": 2024})] == ["1"]


def test_a_failure_drops_the_rows_and_a_success_drops_the_failure(index, put, source, chunks, unit):
    put(index, "/a", n=3)
    index.flush()
    index.fail("/a", "the file is truncated")
    assert index.sources() == {}
    assert [(each.source, each.reason) for each in index.failures()] == [("/a", "the file is truncated")]
    assert index.search_vector(unit()[0], 5) == []
    one = put(index, "/a")
    assert (index.failures(), index.sources()) == ((), {"/a": one})
    index.begin(one)
    index.add(chunks(one, 2), unit(2))
    index.fail("/a", "again")
    index.flush()
    assert index.chunks.connection.count("florence") == 0


def test_what_is_discarded_while_the_store_fails_is_gone_when_it_is_back(
    index, put, source, chunks, unit, calls, monkeypatch
):
    """Rows that are stored and rows in the buffer; a complete source in the same buffer is kept."""
    index.begin(one := source("/a"))
    index.add(chunks(one, 2), unit(2))
    index.flush_buffer()
    index.add(chunks(one, 3)[2:], unit())
    index.begin(source("/b"))
    put(index, "/c")

    def fail(*_, **__):
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(index.chunks.connection, "upsert", fail)
        index.discard(one)
        index.discard(source("/b"))
        with pytest.raises(StoreError):
            index.sources()
    assert {hit.source for hit in index.find()} == set(index.sources()) == {"/c"}
    assert {entry.uri: entry.state for entry in index.entries()} == {"/a": "begun", "/b": "begun", "/c": "complete"}
    calls.clear()
    index.flush_buffer()
    assert calls == []
    put(index, "/a", n=3)
    assert index.info().chunks == {"text": 4} and index.chunks.connection.count("florence") == 4


def test_deleting_drops_sources_and_failures_and_counts_rows(index, put):
    put(index, "/a", n=3)
    put(index, "/b", n=2)
    index.fail("/c", "x")
    assert index.delete_sources(["/a", "/c", "/nowhere"]) == 3
    assert (list(index.sources()), index.failures()) == (["/b"], ())
    assert index.chunks.connection.count("florence") == 2
    assert index.delete_sources([]) == 0


def test_add_and_complete_need_exactly_the_source_that_has_begun(index, source, chunks, unit):
    with pytest.raises(InputError, match=r"'/photos/a.jpg' has not begun; call begin"):
        index.add(chunks(source()), unit())
    index.begin(source(version=1))
    with pytest.raises(InputError, match="has not begun"):
        index.add(chunks(source(version=2)), unit())
    with pytest.raises(InputError, match="has not begun"):
        index.complete(source(version=2))
    index.complete(source(version=1))
    with pytest.raises(InputError, match="has not begun"):
        index.complete(source(version=1))


def test_bad_input_is_refused_before_anything_is_written(index, source, chunks, unit):
    one = source()
    index.begin(one)
    for vectors in (unit(1), np.full((2, 8), np.nan), np.zeros((2, 8)), unit(2, dimension=4)):
        with pytest.raises(InputError):
            index.add(chunks(one, 2), vectors)
    with pytest.raises(InputError, match="metadata"):
        index.add([*chunks(one), Chunk(one, "image", metadata={"x": object()})], unit(2))
    with pytest.raises(InputError, match="allowed are 1 to 8192"):
        index.begin(source("x" * 9000))
    index.complete(one)
    assert index.info().chunks == {}


@pytest.fixture
def full_disk(monkeypatch):
    """Every write to Lite's log fails while this is set."""
    real, state = WAL.write_insert, {"full": False}

    def write(self, batch):
        if state["full"]:
            raise OSError(28, "No space left on device")
        return real(self, batch)

    monkeypatch.setattr(WAL, "write_insert", write)
    return state


def test_an_interrupted_write_is_repeated(index, put, monkeypatch):
    real = index.chunks.connection.upsert

    def interrupted(collection, rows):
        real(collection, rows)
        if collection == "florence":
            raise KeyboardInterrupt

    put(index, "/a", n=3)
    with monkeypatch.context() as patch:
        patch.setattr(index.chunks.connection, "upsert", interrupted)
        with pytest.raises(KeyboardInterrupt):
            index.flush()
    assert list(index.sources()) == ["/a"]
    assert index.chunks.connection.count("florence") == 3


@pytest.mark.lite
def test_an_error_while_closing_does_not_hide_the_error_of_the_block(open_index, put, full_disk, db):
    with pytest.raises(ZeroDivisionError), open_index() as index:
        put(index)
        full_disk["full"] = True
        raise ZeroDivisionError
    full_disk["full"] = False
    assert Path(db, "LOCK").exists()
    assert open_index().sources() == {}


def test_a_search_right_after_a_deletion_does_not_find_it(index, put, unit):
    for name in "abc":
        put(index, f"/photos/{name}.jpg")
        index.flush_buffer()
        time.sleep(0.3)  # a server has spread the writes, so that a search need not wait for them
        index.delete_sources([f"/photos/{name}.jpg"])
        assert index.search_vector(unit()[0], 10) == []
