from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

import florence_rag
from florence_rag.context import Context, Models
from florence_rag.errors import InputError
from florence_rag.image_store import ImageStore
from florence_rag.models.registry import TINY
from florence_rag.retrieval import relevance
from florence_rag.retrieval.background import Background, BackgroundSample
from florence_rag.retrieval.evidence import QueryTerms
from florence_rag.retrieval.query import Query, QueryPart, to_query
from florence_rag.retrieval.query_vector import QueryVector
from florence_rag.retrieval.relevance import (
    DEFAULT_MIN_RELEVANCE,
    Calibration,
    combine,
    unknown_share,
    weigh_cosines,
    weigh_terms,
)
from florence_rag.retrieval.retriever import Retriever
from florence_rag.testing import ColorEmbedder, MemoryIndex, SynonymEmbedder, color_frame
from florence_rag.types import Chunk, EmbedderInfo, Hit, Locator, Source

UP = QueryVector(np.array([1.0, 0.0]), np.zeros(2))
CALIBRATION = Calibration(10.0, 0.0, 0.0, -5.0, typical_mean=0.0, typical_deviation=0.1)


def evidence(query: str, *texts: str):
    terms = QueryTerms(query)
    return weigh_terms(len(terms), [match for text in texts if (match := terms.match(text))])


def chunk(color):
    source = Source(f"/{color}", "image", 1, 1, color)
    return Chunk(source, "image", frames=(color_frame(*color.split("-")),))


@pytest.fixture
def colors_index():
    embedder = ColorEmbedder()
    index = MemoryIndex(embedder.info)
    for each in map(chunk, ("red", "red-blue", "blue")):
        index.begin(each.source)
        index.add([each], embedder.embed_images(each.frames))
        index.complete(each.source)
    return index, embedder


@pytest.fixture
def colors_retriever(colors_index):
    index, embedder = colors_index
    return Retriever(Context(index, Models.of(embedder), ImageStore(index)))


@pytest.fixture
def calibrated(monkeypatch):
    """Calibrate all embedders alike."""
    monkeypatch.setattr(relevance, "_calibrations", lambda: Always())


class Always(dict):
    def get(self, key, default=None):
        return dict.fromkeys(("image", "page", "clip", "text"), CALIBRATION)


def test_one_sentence_must_contain_the_terms():
    together, apart = evidence(
        "clock tower of Marlow", "The clock tower of Marlow is tall.", "Marlow is old. Varen has a clock."
    )
    assert together.share == pytest.approx(1)
    assert apart.share < 0.5
    assert together.probability > 0.9 > 0.5 > apart.probability


def test_a_term_that_no_text_contains_weighs_most():
    (found,) = evidence("quantum tower", "The tower is tall.")
    (rare,) = evidence("tower", "The tower is tall.")
    assert found.share < 0.5 < rare.share


def test_a_part_of_the_terms_is_weak_evidence():
    some, more = evidence("quantum rocket bridge of Marlow", "A bridge.", "The bridge of Marlow.")
    assert 1e-4 < some.probability < more.probability < 0.05


def test_words_with_the_same_stem_count_once():
    (found,) = evidence("parked parking", "The car is parked.")
    assert found.share == 1


def test_a_sentence_ends_with_a_period_or_an_empty_line_but_not_inside_a_number():
    terms = QueryTerms("ticket 2.40")
    assert terms.match("A ticket costs 2.40 here.").by_sentence == {frozenset({0, 1, 2})}
    assert terms.match("ticket\n\n2.40").by_sentence == {frozenset({0}), frozenset({1, 2})}


def test_independent_evidence_adds_up():
    assert combine([0.5, 0.5]) == 0.75
    assert combine([]) == 0


def background(sample, texts=((0.0, 0.0),), best=0.5, spread=0.1):
    return Background(np.array(sample, dtype=float).reshape(-1, 2), np.array(texts), best, spread)


def test_a_larger_cosine_is_more_probable_and_stays_between_0_and_1():
    cosines = np.array([-100.0, 0.4, 0.6, 100.0])
    values = CALIBRATION.probabilities(cosines, UP, background(np.full((100, 2), 0.1))).tolist()
    assert values == sorted(values)
    assert (values[0], values[-1]) == (pytest.approx(0), pytest.approx(1))


def test_few_rows_hardly_change_the_typical_background():
    calibration = Calibration(0.0, 10.0, 0.0, 0.0, typical_mean=0.2, typical_deviation=0.1)
    none, three, many = (
        calibration.probabilities(np.zeros(1), UP, background(np.full((rows, 2), 0.6)))[0] for rows in (0, 3, 1000)
    )
    assert none == 0.5 and 0.5 < three < 0.75 and many > 0.95


def test_words_that_the_model_was_not_trained_with_lower_the_probability():
    calibration = replace(CALIBRATION, unknown=-8.0)
    known, unknown = (calibration.probabilities(np.array([0.9]), UP, background([]), share)[0] for share in (0.0, 0.5))
    assert known > 0.9 > 0.6 > unknown


def test_the_words_of_a_listed_vocabulary_are_known():
    tiny = EmbedderInfo(TINY, next(iter(relevance._tables())), 512, "")
    shares = {"a red car": 0, "a shiny red car": 0, "a red guitar": 0.5, "quantum banana zebra": 1, "": 0}
    for text, share in shares.items():
        assert unknown_share([text], tiny) == share
    assert unknown_share(["quantum banana zebra"], ColorEmbedder.info) == 0


def test_each_word_of_the_vocabulary_is_one_token_of_the_model():
    (table,) = relevance._tables().values()
    folder = Path(florence_rag.__file__).parent / "assets" / "florence_tiny" / "florence"
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    words = table["vocabulary"].split()
    assert [word for word in words if len(tokenizer.encode(word, add_special_tokens=False)) != 1] == []


def test_the_sample_is_read_again_when_a_search_finds_more_than_it_holds(colors_index):
    index, embedder = colors_index
    sample = BackgroundSample(Context(index, Models.of(embedder), ImageStore(index)))
    reads = []
    find = index.find
    index.find = lambda **scope: reads.append(scope) or find(**scope)
    for found in (1, 3, 3):
        vectors = sample.of("image", found).sample
    assert len(reads) == 1
    assert vectors.shape == (3, embedder.info.dimension)
    sample.of("image", 4)
    assert len(reads) == 2


def test_an_embedder_without_calibration_compares_with_what_everyday_texts_find(colors_retriever):
    hits = colors_retriever.search("brown and red", group=False)
    by_name = {hit.source: hit.relevance for hit in hits}
    assert by_name["/red"] > 0.5 > 0.2 > by_name["/blue"]
    assert colors_retriever.search("brown and red", group=False, min_relevance=0.5)[0].source == "/red"
    assert max(hit.relevance for hit in colors_retriever.search("quantum zebra")) < DEFAULT_MIN_RELEVANCE


def test_an_image_is_most_relevant_to_itself(colors_retriever):
    hits = colors_retriever.search(to_query(None, color_frame("red")), group=False)
    relevance = {hit.source: hit.relevance for hit in hits}
    assert relevance["/red"] > 0.8 and relevance["/blue"] < 0.1
    assert [hit.source for hit in colors_retriever.search(to_query(None, color_frame("red")), min_relevance=0.8)] == [
        "/red"
    ]


def test_a_text_with_an_image_has_a_relevance_between(colors_retriever):
    hits = colors_retriever.search(to_query("blue", color_frame("red")), group=False)
    assert all(0 <= hit.relevance <= 1 for hit in hits) and hits[0].source == "/red-blue"


def test_without_bm25_relevance_is_that_of_the_cosine(colors_index, colors_retriever, monkeypatch):
    index, _ = colors_index
    before = {hit.id: hit.relevance for hit in colors_retriever.search("brown and red", group=False)}
    monkeypatch.setattr(type(index), "has_bm25", False)
    assert {hit.id: hit.relevance for hit in colors_retriever.search("brown and red", group=False)} == before


def test_a_second_text_embedder_has_a_relevance():
    embedder, text_embedder = ColorEmbedder(), SynonymEmbedder("harbour port")
    index = MemoryIndex(embedder.info, text_embedder.info)
    for number, text in enumerate(["the old harbour", "a walk in the forest"]):
        source = Source(f"/{number}.txt", "text", 1, 1, str(number))
        index.begin(source)
        index.add([Chunk(source, "text", text=text)], embedder.embed_texts([text]), text_embedder.embed_texts([text]))
        index.complete(source)
    models = Models.of(embedder, text_embedder=text_embedder)
    hits = Retriever(Context(index, models, ImageStore(index))).search("port")
    assert hits[0].source == "/0.txt" and hits[0].relevance > hits[1].relevance


@pytest.mark.usefixtures("calibrated")
def test_hits_below_the_smallest_relevance_are_dropped(colors_retriever):
    hits = colors_retriever.search("red")
    assert len(hits) == 3
    assert hits[0].relevance > 0.9 > 0.5 > hits[-1].relevance
    assert colors_retriever.search("red", min_relevance=0.5) == [hit for hit in hits if hit.relevance >= 0.5]


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), True, "much"])
def test_a_smallest_relevance_out_of_range_is_an_error(colors_retriever, value):
    with pytest.raises(InputError, match="min_relevance"):
        colors_retriever.search("red", min_relevance=value)


@pytest.mark.usefixtures("calibrated")
def test_what_is_unwanted_is_less_relevant_and_the_order_is_that_of_relevance(colors_retriever):
    plain, unlike = (
        {hit.source: hit.relevance for hit in colors_retriever.search(Query(["red", *parts]), group=False)}
        for parts in ([], [QueryPart("blue", weight=-1)])
    )
    assert unlike["/red-blue"] < plain["/red-blue"] and unlike["/blue"] < plain["/blue"]
    assert unlike["/red"] > 0.9
    assert list(unlike.values()) == sorted(unlike.values(), reverse=True)
    assert colors_retriever.search(Query(["red", QueryPart("blue", weight=-1)]), min_relevance=0.9)


def test_what_no_evidence_speaks_for_comes_after_an_image_with_little(colors_index, colors_retriever, monkeypatch):
    index, embedder = colors_index
    source = Source("/note", "text", 1, 1, "note")
    index.begin(source)
    index.add([Chunk(source, "text", text="A note.")], embedder.embed_texts(["red"]))
    index.complete(source)
    kinds = {"image": replace(CALIBRATION, offset=-20.0), "text": Calibration(offset=-np.inf)}
    monkeypatch.setattr(relevance, "_calibrations", lambda: {embedder.info.fingerprint: kinds})
    *images, note = colors_retriever.search("red", k=4)
    assert (note.kind, note.relevance) == ("text", 0) and note.similarity["text"] > 0.99
    assert 0 < images[0].relevance < 1e-3 and images[0].source == "/red"


def test_fitted_and_default_relevance_are_not_ranked_together(colors_index, colors_retriever, monkeypatch):
    index, embedder = colors_index
    monkeypatch.setattr(relevance, "_calibrations", lambda: {embedder.info.fingerprint: {"image": CALIBRATION}})
    by_relevance = colors_retriever.search("red", k=4)
    assert colors_retriever.is_calibrated and by_relevance[0].score == by_relevance[0].relevance
    source = Source("/note", "text", 1, 1, "note")
    index.begin(source)
    index.add([Chunk(source, "text", text="A red note.")], embedder.embed_texts(["red"]))
    index.complete(source)
    retriever = Retriever(Context(index, Models.of(embedder), ImageStore(index)))
    fused = retriever.search("red", k=4)
    assert not retriever.is_calibrated and fused[0].score != fused[0].relevance
    assert retriever.search("red", k=4, kinds={"image"}) == by_relevance


@pytest.mark.usefixtures("calibrated")
def test_a_negative_part_that_fits_no_chunk_better_than_others_changes_no_relevance(monkeypatch):
    sample = np.repeat([[0.5, 0.2], [0.3, 0.2]], 100, 0)
    monkeypatch.setattr(BackgroundSample, "of", lambda *_: background(sample))
    embedder, query = ColorEmbedder.info, QueryVector(UP.positive, np.array([0.0, 0.4]))

    def weigh(query, *vectors):
        hits = [Hit(str(i), "image", "", Locator(), float(np.dot(v, query.unit))) for i, v in enumerate(vectors)]
        return list(weigh_cosines(query, hits, embedder, BackgroundSample(None), {"image": CALIBRATION}).values())

    vectors = [0.6, 0.2], [0.6, 0.9]
    plain, moved = weigh(UP, *vectors), weigh(query, *vectors)
    assert moved[0] == pytest.approx(plain[0], abs=0.02) and moved[1] < plain[1]


@pytest.mark.usefixtures("calibrated")
@pytest.mark.parametrize("query", ["red", "red and blue", "a blue wall"])
def test_grouping_leaves_out_no_hit_and_keeps_the_order_of_relevance(colors_retriever, query):
    alone = colors_retriever.search(query, k=9, group=False)
    groups = colors_retriever.search(query, k=9)
    assert {hit.id for best in groups for hit in (best, *best.grouped_hits)} == {hit.id for hit in alone}
    for hits in (alone, groups):
        values = [hit.relevance for hit in hits]
        assert values == sorted(values, reverse=True) == [pytest.approx(hit.score) for hit in hits]
