"""Searches and reads of a collection that Milvus Lite stores."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest

from florence_rag.errors import InputError
from florence_rag.index.milvus import MilvusIndex
from florence_rag.index.store_profile import SERVER
from florence_rag.types import KINDS, Hit, Locator, item_uri


def direction(*parts: float) -> np.ndarray:
    vector = np.array([*parts, *[0.0] * (8 - len(parts))])
    return vector / np.linalg.norm(vector)


@pytest.mark.parametrize("flushed", [False, True])
def test_the_nearest_chunks_come_first_with_their_cosine(index, street, flushed):
    if flushed:
        index.flush()
    hits = index.search_vector(direction(4, 3), 3)
    assert [(hit.id, hit.score) for hit in hits[:2]] == [(street[0].id, 0.8), (street[1].id, 0.6)]
    assert hits[2].score == 0


@pytest.mark.parametrize("flushed", [False, True])
def test_a_hit_has_the_fields_of_its_chunk(index, street, flushed):
    if flushed:
        index.flush()
    for position, chunk in enumerate(street):
        (hit,) = index.search_vector(np.eye(8)[position], 1)
        assert hit == Hit(
            chunk.id,
            chunk.kind,
            chunk.source.uri,
            chunk.locator,
            1.0,
            chunk.text,
            chunk.caption,
            chunk.ocr,
            metadata=chunk.metadata,
        )
        assert {field.name: type(getattr(hit.locator, field.name)) for field in fields(Locator)} == {
            field.name: type(getattr(chunk.locator, field.name)) for field in fields(Locator)
        }
        json.dumps(hit.to_dict())


@pytest.mark.needs("bm25")
@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("car", "/p/car.jpg /p/ride.mp4"),
        ("red cars?", "/p/car.jpg /p/ride.mp4"),
        ("夜景", "/p/paper.pdf"),
        ("景", "/p/paper.pdf"),
        ("J.P. Morgan", "/p/paper.pdf"),
        ("zebra", ""),
        ("夜車", ""),
        ("?!", ""),
        ("", ""),
    ],
)
@pytest.mark.parametrize("flushed", [False, True])
def test_terms_are_found_in_caption_text_and_ocr_text_in_any_script(index, street, query, found, flushed):
    if flushed:
        index.flush()
    hits = index.search_bm25(query, 10)
    assert sorted({hit.source for hit in hits}) == found.split()
    assert all(hit.score > 0 for hit in hits)
    assert hits == sorted(hits, key=lambda hit: -hit.score)


@pytest.mark.needs("bm25")
@pytest.mark.parametrize(
    ("query", "ranked"), [("café", "café cafe"), ("cafe", "cafe café"), ("दिन", "दिन"), ("ข้าว", "กินข้าวเช้า"), ("ขา", "")]
)
def test_the_spelling_of_the_query_ranks_first(index, source, chunks, unit, query, ranked):
    for number, text in enumerate(("café", "cafe", "दिन", "दान", "दन", "กินข้าวเช้า", "เขาไป")):
        one = source(f"/p/{number}.txt")
        index.begin(one)
        index.add(chunks(one, text=text), unit())
        index.complete(one)
    assert [hit.text for hit in index.search_bm25(query, 10)] == ranked.split()


@pytest.mark.needs("bm25")
def test_more_matching_terms_score_higher(index, street):
    hits = index.search_bm25("red car hydrant", 10)
    assert hits[0].source == "/p/car.jpg"
    assert hits[0].score > hits[1].score > 0


@pytest.mark.needs("bm25")
def test_kinds_and_filters_restrict_both_searches(index, street):
    assert [hit.kind for hit in index.search_vector(direction(1, 1, 1, 1), 9, kinds={"clip", "text"})] == [
        hit.kind for hit in sorted(index.get([street[1].id, street[3].id]), key=lambda hit: hit.id)
    ]
    assert [hit.kind for hit in index.search_bm25("attention", 9, kinds=["text"])] == ["text"]
    assert [hit.source for hit in index.search_bm25("car", 9, filter={"metadata.city": "Rome"})] == ["/p/car.jpg"]
    assert index.search_bm25("car", 9, kinds=["clip"], filter='kind == "image" or true')[0].kind == "clip"


@pytest.mark.needs("bm25")
def test_ties_are_broken_by_id_also_at_the_end(index, source, chunks, unit):
    one = source()
    index.begin(one)
    made = chunks(one, 100, text="the same")
    index.add(made, np.repeat(unit(1), 100, axis=0))
    index.complete(one)
    first = sorted(chunk.id for chunk in made)[:7]
    for _ in range(2):
        assert [hit.id for hit in index.search_vector(unit(1)[0], 7)] == first
        assert [hit.id for hit in index.search_bm25("same", 7)] == first
        index.flush()


def test_get_keeps_the_order_and_skips_unknown_ids(index, street):
    ids = [street[2].id, "0" * 32, street[0].id, street[2].id]
    assert [hit.id for hit in index.get(ids)] == [street[2].id, street[0].id, street[2].id]
    assert index.get(ids)[0].score == 0
    assert index.get([]) == []


def test_find_returns_all_matching_chunks(index, street):
    assert {hit.id for hit in index.find()} == {chunk.id for chunk in street}
    wanted = {"id": [street[1].id, "0" * 32]}
    assert [(hit.id, hit.score) for hit in index.find(kinds={street[1].kind}, filter=wanted)] == [(street[1].id, 0)]
    assert list(index.find(filter={"id": "0" * 32})) == []
    with pytest.raises(InputError, match="Milvus does not understand the filter 'id ~ 3'"):
        list(index.find(filter="id ~ 3"))


def test_vectors_come_in_order_and_an_unknown_id_is_an_error(index, street):
    assert np.array_equal(index.vectors([street[1].id, street[0].id]), np.eye(8)[[1, 0]])
    assert index.vectors([]).shape == (0, 8)
    with pytest.raises(InputError, match=r"no chunk has the id '0+'; searches return the ids that exist"):
        index.vectors([street[0].id, "0" * 32])


@pytest.mark.parametrize("ids", ["abc", [1], [None]])
def test_ids_must_be_strings(index, ids):
    for call in (index.get, index.vectors):
        with pytest.raises(InputError, match="must be a list of strings"):
            call(ids)


@pytest.mark.slow
def test_get_of_thousands(index, source, chunks, unit):
    one = source()
    index.begin(one)
    made = chunks(one, 2500)
    index.add(made, unit(2500))
    index.complete(one)
    assert [hit.id for hit in index.get([chunk.id for chunk in made])] == [chunk.id for chunk in made]
    assert np.allclose(index.vectors([chunk.id for chunk in made]), unit(2500))


@pytest.mark.parametrize("k", [0, -1, 16_385])
def test_k_has_limits(index, unit, k):
    with pytest.raises(InputError, match=f"k is {k}; allowed are 1 to 16384"):
        index.search_vector(unit()[0], k)
    with pytest.raises(InputError, match=f"k is {k}"):
        index.search_bm25("word", k)


@pytest.mark.parametrize("query", [np.ones(8), np.full(8, np.nan), np.zeros(8), np.eye(4)[0], np.eye(8)])
def test_a_query_vector_is_a_unit_vector(index, query):
    with pytest.raises(InputError, match="vectors"):
        index.search_vector(query, 3)


def test_an_empty_index_finds_nothing(index, unit):
    assert index.search_vector(unit()[0], 3) == index.search_bm25("word", 3) == []
    assert (index.sources(), index.failures(), index.get(["a"])) == ({}, (), [])


def test_all_kinds_are_no_restriction_and_a_name_or_nothing_is_refused(index, street):
    assert index.search_bm25("car", 9, kinds=KINDS) == index.search_bm25("car", 9)
    for kinds, message in [("clip", "kinds is 'clip'; give a collection"), ([], "give a collection"), (["x"], "'x'")]:
        with pytest.raises(InputError, match=message):
            index.search_bm25("car", 9, kinds=kinds)


def test_a_filter_by_source_also_finds_the_items_that_name_it(index, street, source, chunks, unit):
    assert [hit.source for hit in index.find(filter={"source": "/p/car.jpg"})] == ["/p/car.jpg"]
    item = source(item_uri("1"))
    index.begin(item)
    index.add(chunks(item, metadata={"source": "/p/car.jpg"}, custom_id="1"), unit())
    index.complete(item)
    assert sorted(hit.uri for hit in index.find(filter={"source": "/p/car.jpg"})) == ["/p/car.jpg", "item:1"]


def test_a_repeated_id_has_its_vector_each_time(index, street):
    ids = [street[1].id, street[0].id, street[1].id]
    assert np.array_equal(index.vectors(ids), np.eye(8)[[1, 0, 1]])


def test_the_chunks_of_sources_are_all_theirs_and_unknown_sources_have_none(index, street):
    found = index.chunks_of(["/p/paper.pdf", "/p/car.jpg", "/p/gone.jpg"])
    assert {hit.id for hit in found} == {street[position].id for position in (0, 2, 3)}
    assert list(index.chunks_of([])) == []


@pytest.mark.needs("bm25")
@pytest.mark.parametrize("field", ["vector", "bm25"])
def test_a_filter_that_the_store_cannot_evaluate_finds_every_hit(index, source, chunks, unit, monkeypatch, field):
    monkeypatch.setattr("florence_rag.index.reader._SPARE_HITS", (1, 2))
    monkeypatch.setattr("florence_rag.index.reader._MORE_SPARE_HITS", (4,))
    monkeypatch.setattr("florence_rag.index.reader._IDS_PER_SEARCH", 2)
    one = source()
    index.begin(one)
    vectors = unit(40)
    vectors = vectors[np.argsort(-vectors @ vectors[0], kind="stable")]
    rows = [
        replace(chunks(one)[0], text="word " * (40 - i), custom_id=f"{i:02}", metadata={'a"b': i}) for i in range(40)
    ]
    index.add(rows, vectors)
    index.complete(one)

    def search(k, filter):
        hits = (
            index.search_vector(vectors[0], k, filter=filter)
            if field == "vector"
            else index.search_bm25("word", k, filter=filter)
        )
        return [hit.id for hit in hits]

    assert search(3, {'a"b': {"$gte": 30}}) == ["30", "31", "32"]
    assert sorted(search(40, {'a"b': {"$in": [0, 5, 39]}})) == ["00", "05", "39"]
    assert search(2, {'a"b': {"$gte": 0}}) == ["00", "01"]
    assert search(2, {'a"b': "x"}) == []


@pytest.fixture
def as_type(index, monkeypatch):
    """Return a function that opens the index as one of another type, over whose hits a function decides."""
    connection, own = index.chunks.connection, index.chunks.index_type
    search, params_of = connection.search, connection.profile.search_params

    def open_as(index_type, change):
        def changed(*args, params, limit, **options):
            found = search(*args, params=params_of(own, limit, filtered=True), limit=limit, **options)
            return change(found, params)

        monkeypatch.setattr(connection, "search", changed)
        monkeypatch.setattr(connection, "profile", SERVER)
        return MilvusIndex(replace(index.chunks, index_type=index_type))

    return open_as


def test_hits_of_a_lossy_index_are_ranked_by_their_whole_vectors(index, street, as_type):
    query = direction(0.5, 0.1, 0.7, 0.5)
    exact = index.search_vector(query, 2)
    lossy = as_type("IVF_PQ", lambda found, params: [(row, 1 - score) for row, score in reversed(found)])
    assert lossy.search_vector(query, 2) == exact


def test_a_filter_is_searched_in_all_lists_if_some_of_them_hold_too_few_matches(index, street, as_type):
    query = direction(0.5, 0.1, 0.7, 0.5)
    exact = index.search_vector(query, 4, kinds={"image", "clip"})
    in_lists = as_type("IVF_FLAT", lambda found, params: found if params["nprobe"] > 256 else found[1:])
    assert len(exact) > 1
    assert in_lists.search_vector(query, 4, kinds={"image", "clip"}) == exact
    assert len(in_lists.search_vector(query, 4)) == 3  # without a filter, the nearest lists hold the nearest chunks
