"""Tests of a shadow with another embedder's vectors: every state after a kill has either the old or the new ones."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from florence_rag.errors import InputError, StoreMismatchError
from florence_rag.index import store_client
from florence_rag.index.base import ReembeddableIndex
from florence_rag.index.ledger import Ledger
from florence_rag.index.lite.connection import LiteConnection
from florence_rag.index.milvus import MilvusIndex
from florence_rag.types import EmbedderInfo

OTHER = EmbedderInfo("shapes", "fedcba9876543210", 5, "96 px")
THIRD = EmbedderInfo("sounds", "0f0f", 3, "none")


@pytest.fixture
def fill(chunks, unit):
    """Puts the same sources into a shadow."""

    def fill_it(index: MilvusIndex, shadow: MilvusIndex) -> None:
        for number, source in enumerate(index.sources().values()):
            shadow.begin(source)
            these = chunks(source, index.info().chunks["text"] // len(index.sources()))
            shadow.add(these, unit(len(these), seed=number, dimension=shadow.embedder.dimension))
            shadow.complete(source)
        shadow.flush()

    return fill_it


@pytest.fixture
def two(open_index, put):
    """An index of two sources with two chunks each."""
    index = open_index()
    put(index, "/a", n=2)
    put(index, "/b", n=2)
    return index


class Killed(BaseException):
    """Simulates the end of the process, because no handler of the library catches it."""


def collections(index: MilvusIndex) -> set[str]:
    return set(index.chunks.connection.client.list_collections())


def test_the_index_serves_while_its_shadow_is_filled(two, fill, unit):
    before = two.search_vector(unit()[0], 3)
    shadow = two.open_shadow(OTHER)
    typed: ReembeddableIndex = two
    assert typed.shadow_embedder == OTHER
    fill(two, shadow)
    assert [hit.id for hit in two.search_vector(unit()[0], 3)] == [hit.id for hit in before]
    assert {hit.id for hit in shadow.search_vector(unit(dimension=5)[0], 9)} == {
        hit.id for hit in two.chunks_of(["/a", "/b"])
    }
    assert (two.embedder.name, shadow.embedder.name) == ("colors", "shapes")


@pytest.mark.needs("bm25")
def test_switching_makes_the_shadow_active_and_drops_the_previous_collection(two, fill, unit, open_index, db, embedder):
    fill(two, two.open_shadow(OTHER))
    ids = sorted(hit.id for hit in two.chunks_of(["/a", "/b"]))
    sources = two.sources()
    previous = two.switch(two.open_shadow(OTHER))
    assert (two.embedder, previous.embedder) == (OTHER, embedder)
    assert list(previous.sources()) == ["/a", "/b"]
    two.drop_previous()
    assert "florence" not in collections(two)
    two.close()
    assert MilvusIndex.recorded_embedders(db)[0] == OTHER
    with pytest.raises(StoreMismatchError, match=r"was filled by shapes .* not by colors"):
        open_index()
    again = open_index(embedder=OTHER)
    assert again.sources() == sources and again.shadow_embedder is None
    assert sorted(hit.id for hit in again.search_vector(unit(dimension=5)[0], 9)) == ids
    assert again.info().collection == "florence"
    assert len(again.search_bm25("passage", 9)) == 4


def test_a_switched_index_takes_sources_and_can_be_switched_back(
    two, fill, put, open_index, embedder, source, chunks, unit
):
    fill(two, two.open_shadow(OTHER))
    two.switch(two.open_shadow(OTHER))
    two.drop_previous()
    one = source("/c")
    two.begin(one)
    two.add(chunks(one, 2), unit(2, dimension=5))
    two.complete(one)
    two.delete_sources(["/a"])
    two.close()
    index = open_index(embedder=OTHER)
    assert list(index.sources()) == ["/b", "/c"]
    fill(index, index.open_shadow(embedder))
    index.switch(index.open_shadow(embedder))
    index.drop_previous()
    assert len([name for name in collections(index) if not name.endswith("ledger")]) == 1
    index.close()
    index = open_index()
    assert list(index.sources()) == ["/b", "/c"]
    put(index, "/d")
    assert list(index.sources()) == ["/b", "/c", "/d"]


def test_a_half_filled_shadow_is_continued_after_a_restart(two, open_index, source, chunks, unit):
    shadow = two.open_shadow(OTHER)
    one = source("/a")
    shadow.begin(one)
    shadow.add(chunks(one, 2), unit(2, dimension=5))
    shadow.complete(one)
    shadow.flush()
    two.close()
    index = open_index()
    assert (index.shadow_embedder, list(index.open_shadow(OTHER).sources())) == (OTHER, ["/a"])
    with pytest.raises(StoreMismatchError, match=r"being re-embedded with shapes, not with sounds; continue with that"):
        index.open_shadow(THIRD)
    index.drop_shadow()
    assert (index.shadow_embedder, collections(index)) == (None, {"florence", "florence_ledger"})
    index.drop_shadow()
    assert list(index.open_shadow(THIRD).sources()) == []
    assert list(index.sources()) == ["/a", "/b"]


def test_an_index_is_not_its_own_shadow(index, embedder):
    with pytest.raises(InputError, match="already has the vectors of colors"):
        index.open_shadow(embedder)
    with pytest.raises(InputError, match="has no shadow to switch to"):
        index.switch(index)


def killed_after(monkeypatch, owner, name: str, calls: int):
    """Lets the method run so many times and simulates the end of the process at the next call."""
    real, left = getattr(owner, name), [calls]

    def method(*args, **options):
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return real(*args, **options)

    monkeypatch.setattr(owner, name, method)


@pytest.mark.lite
@pytest.mark.parametrize(
    ("method", "calls", "switched"),
    [
        ((MilvusIndex, "flush"), 0, False),
        ((Ledger, "put_settings"), 0, False),
        ((LiteConnection, "drop"), 0, True),
        ((Ledger, "clear"), 0, True),
        ((Ledger, "put_settings"), 1, True),
    ],
)
def test_a_kill_anywhere_in_a_switch_leaves_the_old_index_or_the_new_one(
    two, fill, open_index, embedder, monkeypatch, db, method, calls, switched, unit
):
    shadow = two.open_shadow(OTHER)
    fill(two, shadow)
    sources = two.sources()
    with monkeypatch.context() as patch:
        killed_after(patch, *method, calls)
        with pytest.raises(Killed):
            two.switch(shadow)
            two.drop_previous()
    two.chunks.connection.close()  # what was not flushed is lost
    assert MilvusIndex.recorded_embedders(db)[0] == (OTHER if switched else embedder)
    index = open_index(embedder=OTHER if switched else embedder)
    assert index.sources() == sources
    assert len(index.search_vector(unit(dimension=index.embedder.dimension)[0], 9)) == 4
    if switched:
        assert "florence" not in collections(index)
    else:
        index.switch(index.open_shadow(OTHER))
        assert index.sources() == sources


@pytest.mark.lite
@pytest.mark.parametrize("left", ["schema.json", "manifest.json", "nothing"])
def test_a_collection_that_was_being_dropped_is_dropped_at_the_next_start(two, fill, open_index, db, left, monkeypatch):
    fill(two, two.open_shadow(OTHER))
    two.switch(two.open_shadow(OTHER))
    folder = Path(db, "collections", "florence")

    def killed_in_between(*args, **options):
        for path in folder.rglob("*"):
            if path.is_file() and path.name != left:
                path.unlink()
        raise Killed

    monkeypatch.setattr(two.chunks.connection.client, "drop_collection", killed_in_between)
    with pytest.raises(Killed):
        two.drop_previous()
    two.chunks.connection.close()
    assert folder.exists()
    assert list(open_index(embedder=OTHER).sources()) == ["/a", "/b"]
    assert not folder.exists() and not list(Path(db).glob(".dropping-*"))


@pytest.mark.lite
def test_users_of_the_previous_collection_are_refused(two, fill, put, open_index, unit):
    other_machine, reader = open_index(), open_index()
    fill(two, two.open_shadow(OTHER))
    two.switch(two.open_shadow(OTHER))
    put(other_machine, "/late")
    with pytest.raises(StoreMismatchError, match=r"now has the vectors of shapes: open it again and repeat"):
        other_machine.flush()
    two.drop_previous()
    with pytest.raises(StoreMismatchError, match=r"moved to another model: open it again"):
        reader.get(["0" * 32])
    with pytest.raises(StoreMismatchError, match=r"moved to another model: open it again"):
        reader.search_vector(unit()[0], 3)
    assert list(two.sources()) == ["/a", "/b"]


def test_writes_to_a_dropped_shadow_are_refused(two, fill):
    shadow = two.open_shadow(OTHER)
    two.drop_shadow()
    with pytest.raises(StoreMismatchError, match=r"now has the vectors of colors"):
        fill(two, shadow)
        shadow.flush()


def test_an_older_index_without_settings_of_a_shadow_opens(two, open_index, embedder):
    row = two.chunks.connection.rows_of("florence_ledger", ["settings"], ["id", "state", "body"])["settings"]
    body = json.loads(row["body"])
    old = {"embedder": body["embedder"], "version": body["version"]}
    two.chunks.connection.upsert("florence_ledger", [{**row, "body": json.dumps(old), "vector": [0.0, 0.0]}])
    two.close()
    index = open_index()
    assert (list(index.sources()), index.shadow_embedder) == (["/a", "/b"], None)


def test_chunks_of_returns_all_chunks_of_the_sources(two, put):
    put(two, b"/caf\xe9".decode("utf-8", "surrogateescape"), n=3)
    assert len(list(two.chunks_of(["/a", "/none"]))) == 2
    assert [hit.text for hit in two.chunks_of([])] == []
    odd = list(two.chunks_of(two.sources()))
    assert len(odd) == 7 and len({hit.id for hit in odd}) == 7
    assert two.get([odd[0].id]) == [odd[0]]


def test_two_indexes_in_one_database_have_shadows_of_their_own(two, open_index, put, fill):
    other = open_index(collection="other")
    put(other, "/x", n=1)
    fill(two, two.open_shadow(OTHER))
    fill(other, other.open_shadow(OTHER))
    two.switch(two.open_shadow(OTHER))
    two.drop_previous()
    assert (list(two.sources()), list(other.sources())) == (["/a", "/b"], ["/x"])
    assert list(other.open_shadow(OTHER).sources()) == ["/x"]
    assert replace(other.embedder) != OTHER and np.isfinite(other.vectors([next(other.chunks_of(["/x"])).id])).all()


def test_on_a_server_the_previous_collection_stays_until_the_next_shadow(
    engine_uri, open_index, put, fill, monkeypatch
):
    monkeypatch.setattr(store_client, "server_problem", lambda version: "")
    index = open_index(uri=engine_uri)
    put(index, "/a", n=2)
    shadow = index.open_shadow(OTHER)
    fill(index, shadow)
    index.switch(shadow)
    again = open_index(uri=engine_uri, embedder=OTHER)
    assert "florence" in collections(again)
    with pytest.raises(InputError, match="already has the vectors of shapes"):
        again.open_shadow(OTHER)
    assert "florence" not in collections(again)
    assert list(again.sources()) == ["/a"] and len(list(again.chunks_of(["/a"]))) == 2
