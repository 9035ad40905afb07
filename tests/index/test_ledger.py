import json
from dataclasses import replace
from pathlib import Path

import pytest

from florence_rag.errors import InputError, StoreCorruptError, StoreMismatchError
from florence_rag.index.ledger import Entry, Ledger
from florence_rag.index.milvus import MilvusIndex
from florence_rag.skip_counts import MAX_REASONS
from florence_rag.types import Failure, Locator, Skipped


@pytest.fixture
def ledger(index) -> Ledger:
    return index.chunks.ledger


def test_entries_are_read_as_they_were_written(ledger, source):
    odd = source(b"/photos/caf\xe9 \\'\"\n.jpg".decode("utf-8", "surrogateescape"))
    entries = [
        Entry("/a", "begun"),
        Entry("/b", "failed", reason="it is no \u591c\nimage"),
        Entry(odd.uri, "complete", odd, {"image": 2, "text": 1}),
    ]
    ledger.put(entries)
    assert sorted(ledger.entries(), key=lambda entry: entry.uri) == sorted(entries, key=lambda entry: entry.uri)
    assert {uri: entry.source for uri, entry in ledger.sources().items()} == {odd.uri: odd}
    assert ledger.failures() == (Failure("/b", "it is no \u591c\nimage"),)
    assert ledger.states(["/a", odd.uri, "/c"]).keys() == {"/a", odd.uri}


def test_the_skipped_parts_of_a_source_are_kept_with_it(index, source, chunks, unit):
    one, parts = source("/a"), (Skipped("/a", "damaged page", Locator(page=2)), Skipped("/a", "sound not read"))
    index.begin(one)
    index.add(chunks(one, 1), unit(1))
    index.complete(one, parts)
    assert index.skipped_parts() == {"/a": parts} and index.sources() == {"/a": one}
    index.update_stat([replace(one, modified_ns=7)])
    assert index.skipped_parts() == {"/a": parts} and index.sources()["/a"].modified_ns == 7
    assert (index.info().sources, index.info().skipped) == (1, {"damaged page": 1, "sound not read": 1})
    assert index.chunks.check_integrity().damaged == frozenset()
    index.begin(one)
    index.add(chunks(one, 1), unit(1))
    index.complete(one)
    assert index.skipped_parts() == {} and index.info().skipped == {}


def test_counts_of_folders_are_replaced_and_deleted(index, ledger, put):
    put(index, "/p/a.jpg")
    index.fail("/p", "the folder cannot be read")
    index.put_skipped_files({"/p": {".mp3": 2, ".a": 1}, "s3://b/q": {".mp3": 1}})
    assert index.skipped_files() == {"/p": {".mp3": 2, ".a": 1}, "s3://b/q": {".mp3": 1}}
    assert index.info().skipped == {".mp3": 3, ".a": 1}
    index.put_skipped_files({"/p": {}, "s3://b/q": {".b": 1}})
    assert index.skipped_files() == {"s3://b/q": {".b": 1}}
    assert [failure.source for failure in index.failures()] == ["/p"] and list(index.sources()) == ["/p/a.jpg"]
    assert {entry.uri for entry in ledger.entries()} == {"/p", "/p/a.jpg"}


def test_counts_of_very_many_reasons_fit_into_a_row(index):
    counts = {f".{i:03}{'é' * 13}": 1 for i in range(MAX_REASONS + 1)}
    index.put_skipped_files({"/p": counts})
    assert index.info().skipped == counts


def test_an_entry_replaces_the_one_before_and_can_be_dropped(ledger):
    ledger.put([Entry("/a", "begun")])
    ledger.put([Entry("/a", "failed", reason="x")])
    assert [entry.state for entry in ledger.entries()] == ["failed"]
    ledger.drop(["/a", "/b"])
    assert list(ledger.entries()) == []


def test_clearing_keeps_the_settings_which_change_in_one_write(ledger, embedder):
    ledger.put([Entry("/a", "begun"), Entry("/b", "failed", reason="x")])
    other = replace(embedder, name="other")
    changed = replace(ledger.settings(), chunks="florence_1", shadow_embedder=other, previous="florence")
    ledger.put_settings(changed)
    ledger.clear()
    assert list(ledger.entries()) == []
    assert ledger.settings() == changed


def test_a_long_reason_is_cut(ledger):
    ledger.put([Entry("/a", "failed", reason="x" * 100_000)])
    assert len(ledger.failures()[0].reason) == 2000


@pytest.mark.parametrize("change", [{"name": "other"}, {"fingerprint": "f" * 16}, {"dimension": 4}])
def test_another_embedder_is_refused_with_both_names_and_what_to_do(open_index, embedder, change):
    open_index().close()
    other = replace(embedder, **change)
    with pytest.raises(StoreMismatchError) as caught:
        open_index(embedder=other)
    message = str(caught.value)
    assert "was filled by colors (0123456789ab, 8 dimensions, 48 px)" in message
    assert (
        f"not by {other.name} ({other.fingerprint[:12]}, {other.dimension} dimensions, {other.preprocessing})"
        in message
    )
    assert "open it with that model, or index the files into a new database" in message
    open_index()


def test_the_same_embedder_with_other_preprocessing_is_refused_with_the_command_that_moves_the_index(
    open_index, embedder
):
    open_index().close()
    with pytest.raises(StoreMismatchError, match="of colors for 48 px, and today they are for 96 px; embed it again"):
        open_index(embedder=replace(embedder, preprocessing="96 px"))


def test_the_recorded_embedder_opens_the_index(db, open_index, embedder):
    assert MilvusIndex.recorded_embedders(db) is None
    open_index().close()
    assert MilvusIndex.recorded_embedders(db)[0] == embedder
    assert MilvusIndex.recorded_embedders(db, collection="other") is None
    open_index(embedder=MilvusIndex.recorded_embedders(db)[0])


def test_an_index_of_another_schema_version_is_refused(db, open_index):
    with open_index() as index:
        row = index.chunks.connection.rows_of("florence_ledger", ["settings"], ["id", "state", "body"])["settings"]
        body = {"version": 0}
        index.chunks.connection.upsert("florence_ledger", [{**row, "body": json.dumps(body), "vector": [0.0, 0.0]}])
    with pytest.raises(
        StoreMismatchError,
        match=r"has schema version 0, but this florence_rag .+ reads versions 2 to \d+; index the files into a new one",
    ):
        open_index()


def test_chunks_without_settings_are_corrupt(open_index):
    with open_index() as index:
        index.chunks.connection.delete("florence_ledger", ["settings"])
    with pytest.raises(StoreCorruptError, match=r"has lost its settings; `florence-rag check --db .+` lists"):
        open_index()


@pytest.mark.lite
def test_a_kill_before_the_settings_were_written_does_no_harm(open_index, embedder):
    with open_index() as index:
        index.chunks.connection.delete("florence_ledger", ["settings"])
        index.chunks.connection.client.drop_collection("florence")
    open_index().close()
    open_index()


def test_a_collection_of_another_program_is_not_changed(open_index):
    with open_index() as index:
        index.chunks.connection.client.create_collection("photos", dimension=4)
    with pytest.raises(StoreMismatchError, match=r"'photos' of .* was created by another program; choose another name"):
        open_index(collection="photos")


def test_collections_of_one_database_are_independent(open_index, put, embedder):
    with open_index(collection="one") as one, open_index(collection="two") as two:
        put(one, "/a")
        assert (list(one.sources()), list(two.sources())) == (["/a"], [])


@pytest.mark.parametrize("name", ["", "a b", "1a", "a/../b", "a" * 202, "夜"])
def test_a_collection_needs_a_name(db, open_index, name):
    for call in (open_index, lambda collection: MilvusIndex.recorded_embedders(db, collection=collection)):
        with pytest.raises(InputError, match="is not a valid name; use letters, digits and underscores"):
            call(collection=name)
    assert not Path(db).exists()
