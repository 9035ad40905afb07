from dataclasses import replace

import numpy as np
import pytest

from florence_rag.context import Context, Models
from florence_rag.embedding.base import EmbedderCapabilities
from florence_rag.errors import InputError
from florence_rag.image_store import ImageStore
from florence_rag.perception.base import MatcherReranker
from florence_rag.retrieval.config import RetrievalConfig
from florence_rag.retrieval.query import Query, QueryPart, to_query
from florence_rag.retrieval.retriever import Retriever
from florence_rag.testing import ColorEmbedder, ColorVQA, MemoryIndex, SynonymEmbedder, color_frame
from florence_rag.types import Chunk, EmbedderInfo, Locator, Source

EMBEDDER = ColorEmbedder()


def chunk(name, kind="image", colors=(), text="", ocr="", start_s=None, span=None):
    source = Source(f"/{name}", "text" if kind == "text" else "image", 1, 1, name)
    locator = Locator(start_s=start_s, end_s=None if start_s is None else start_s + 1, span=span)
    frames = (color_frame(*colors),) if colors else ()
    return Chunk(source, kind, locator, text=text, ocr=ocr, frames=frames)


class ChunkImages(ImageStore):
    """Images of chunks that have no file."""

    def __init__(self, index, chunks):
        super().__init__(index)
        self.of = {each.id: each.frames for each in chunks}

    def frames(self, hit):
        return self.of[hit.id]


def filled(*chunks):
    index = MemoryIndex(EMBEDDER.info)
    for source in {each.source for each in chunks}:
        index.begin(source)
    for each in chunks:
        vector = EMBEDDER.embed_images(each.frames) if each.frames else EMBEDDER.embed_texts([each.text])
        index.add([each], vector)
    return index


def retriever(*chunks, **config):
    index = filled(*chunks)
    return Retriever(Context(index, Models.of(EMBEDDER), ImageStore(index)), RetrievalConfig(**config))


def names(hits):
    return [hit.source.strip("/") for hit in hits]


IMAGES = (chunk("red", colors=["red"]), chunk("blue", colors=["blue"]), chunk("mixed", colors=["red", "blue"]))


def test_a_text_finds_similar_images():
    first, second, _ = retriever(*IMAGES).search("something red")
    assert names([first, second]) == ["red", "mixed"]
    assert first.explanation == "visual similarity 1.00"
    assert first.score == pytest.approx(1.0)


@pytest.mark.parametrize("read", ["find", "search_vector"])
def test_a_chunk_that_another_thread_deletes_meanwhile_is_left_out(read, monkeypatch):
    """Searches read vectors of chunks that they have just found: for their relevance, and for diversity."""
    index = filled(*IMAGES)
    found = getattr(index, read)

    def with_a_deleted_one(*args, **kwargs):
        hits = [*found(*args, **kwargs)]
        return [replace(hits[0], id="deleted meanwhile"), *hits]

    monkeypatch.setattr(index, read, with_a_deleted_one)
    searching = Retriever(Context(index, Models.of(EMBEDDER), ImageStore(index)))
    if read == "find":
        hits = searching.search("something red")
    else:
        hits = searching.search_mmr(EMBEDDER.embed_texts(["red"])[0], k=3)
    assert sorted(names(hits)) == ["blue", "mixed", "red"]


def test_an_image_finds_similar_images():
    first, *_ = retriever(*IMAGES).search(to_query(None, color_frame("blue")))
    assert (names([first]), first.explanation) == (["blue"], "visual similarity 1.00")


def test_text_and_image_together_find_a_mixture_of_both():
    assert names(retriever(*IMAGES).search(to_query("red", color_frame("blue")), k=1)) == ["mixed"]


def test_parts_count_by_their_weights():
    mostly_text = Query([QueryPart("red", weight=9), QueryPart(image=color_frame("blue"))])
    assert names(retriever(*IMAGES).search(mostly_text, k=1)) == ["red"]


def test_ocr_text_is_found_and_explained():
    hits = retriever(*IMAGES, chunk("sign", colors=["white"], ocr="NIGHT BUS")).search("the night bus")
    assert names(hits)[0] == "sign"
    assert hits[0].explanation == 'contains "NIGHT BUS"; matched terms: NIGHT, BUS'


@pytest.mark.parametrize(("query", "first"), [("cafe", "plain"), ("café", "accented"), ("CAFE\u0301", "accented")])
def test_the_spelling_of_the_query_comes_first_also_in_a_longer_text(query, first):
    texts = {"plain": "cafe", "accented": "café"}
    texts[first] += " that has been open for many years at the corner of a street with trees"
    chunks = [chunk(name, "text", text=text) for name, text in texts.items()]
    hits = retriever(*chunks).search(query)
    assert names(hits)[:2] == [first, *(texts.keys() - {first})]
    assert {hit.explanation.partition(";")[0] for hit in hits[:2]} == {"matched terms: cafe", "matched terms: café"}


def test_parts_of_words_are_no_evidence():
    hits = retriever(chunk("room", "text", text="극장에 가다")).search("시장에서")
    assert not any("matched" in hit.explanation for hit in hits)


def test_a_passage_does_not_bury_a_similar_image():
    """Cosines between texts are higher than between text and image: here 1.00 against 0.71."""
    passage = chunk("passage", "text", text="red red, nothing but red")
    assert names(retriever(IMAGES[2], passage).search("red")) == ["mixed", "passage"]


def test_a_passage_with_all_terms_comes_before_images_without_any():
    passage = chunk("passage", "text", text="The assembly meets on Friday.")
    assert names(retriever(*IMAGES, passage).search("assembly on friday"))[0] == "passage"


def test_a_passage_with_some_terms_stays_behind_a_similar_image():
    passage = chunk("passage", "text", text="A hydrant was repaired.")
    hits = retriever(*IMAGES, passage).search("a red car next to a hydrant")
    assert names(hits)[0] == "red"


class NoiseEmbedder:
    """Random vectors, so that only BM25 can find anything."""

    info = EmbedderInfo("noise", "0", 16, "none")
    capabilities = EmbedderCapabilities()

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)

    def embed_images(self, frames):
        vectors = self.random.normal(size=(len(frames), 16)).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    embed_texts = embed_images


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("query", "name"), [("03-17", "solar"), ("J.P. Morgan", "tower"), ("polo", "shirt")])
def test_ocr_text_is_first_for_any_vectors(query, name, seed):
    printed = {
        "solar": "03-17",
        "field": "03-11\n17 03",
        "tower": "J.P.Morgan",
        "morgan": "Morgan & Co",
        "shirt": "POLO",
    }
    chunks = [chunk(each, colors=["gray"], ocr=ocr) for each, ocr in printed.items()]
    chunks += [chunk(f"other{i}", colors=["gray"]) for i in range(30)]
    embedder = NoiseEmbedder(seed)
    index = MemoryIndex(embedder.info)
    for each in chunks:
        index.begin(each.source)
    index.add(chunks, embedder.embed_images([each.frames[0] for each in chunks]))
    assert names(Retriever(Context(index, Models.of(embedder), ImageStore(index))).search(query, k=1)) == [name]


def video(name, *colors):
    return [chunk(name, "clip", [color], start_s=float(i)) for i, color in enumerate(colors)]


def test_clips_are_grouped_under_their_video():
    search = retriever(*video("a.mp4", "blue", "red", "orange"), *video("b.mp4", "blue", "green")).search
    first, second = search("red")
    assert (names([first]), first.locator.start_s, len(first.grouped_hits)) == (["a.mp4"], 1.0, 2)
    assert names([second]) == ["b.mp4"]
    assert len(search("red", group=False)) == 5


def test_k_counts_videos_not_clips():
    """One video with more clips than the depth of the first search must not hide the others."""
    long = video("long.mp4", *["red"] * 40)
    hits = retriever(*long, *video("short.mp4", "blue"), IMAGES[1], candidates_per_branch=2, oversample=1).search(
        "red", k=3
    )
    assert names(hits)[0] == "long.mp4"
    assert set(names(hits)) == {"long.mp4", "short.mp4", "blue"}


def test_only_the_kinds_asked_for_are_found():
    search = retriever(*IMAGES, *video("a.mp4", "red"), chunk("note", "text", text="red")).search
    assert {hit.kind for hit in search("red", kinds={"clip", "text"})} == {"clip", "text"}
    assert {hit.kind for hit in search("red", kinds={"text"})} == {"text"}
    assert names(search(to_query(None, color_frame("red")), kinds={"clip"})) == ["a.mp4"]


def test_a_filter_restricts_every_route():
    search = retriever(*video("a.mp4", "red", "red", "red")).search
    hits = search("red", filter={"start_s": {"$gte": 1}}, group=False)
    assert sorted(hit.locator.start_s for hit in hits) == [1.0, 2.0]


def test_an_empty_index_finds_nothing():
    assert retriever().search("red") == []


def test_at_most_k_hits_are_returned():
    assert len(retriever(*IMAGES).search("red", k=2)) == 2


def test_a_bad_request_is_refused_before_anything_is_searched():
    with pytest.raises(InputError, match="nothing to search for"):
        retriever().search(Query([]))


COLORS = tuple(chunk("-".join(colors), colors=colors) for colors in (["red"], ["red", "blue"], ["red", "green"]))


def test_a_negative_text_moves_what_it_describes_to_the_end():
    assert names(retriever(*COLORS).search("red"))[0] == "red"
    mixed = [QueryPart("red"), QueryPart("blue")]
    assert names(retriever(*COLORS).search(Query(mixed)))[0] == "red-blue"
    unlike = Query(["red", QueryPart("blue", weight=-1)])
    assert names(retriever(*COLORS).search(unlike))[-1] == "red-blue"


def test_an_indexed_chunk_finds_others_and_its_region_what_it_shows():
    like = QueryPart(id=COLORS[1].id)
    assert names(retriever(*COLORS, *IMAGES).search(Query([like])))[0] == "mixed"
    index = filled(*COLORS, *IMAGES)
    images = ChunkImages(index, [*COLORS, *IMAGES])
    right_half = Query([QueryPart(id=COLORS[1].id, box=(0.6, 0, 1, 1))])
    assert names(Retriever(Context(index, Models.of(EMBEDDER), images)).search(right_half))[0] == "blue"


def test_a_text_that_mentions_what_is_unwanted_comes_last_and_says_so():
    texts = ("a red street with cars", "a red street. Cars are far away, far from all", "a red street")
    search = retriever(*(chunk(text, "text", text=text) for text in texts)).search
    half, full = (search(Query(["red street", QueryPart("cars on streets", weight=w)])) for w in (-0.5, -1))
    assert names(full)[-1] == names(half)[-1] == texts[0]
    assert full[-1].score == 0 < half[-1].score
    assert 'mentions "cars on streets"' in full[-1].explanation
    assert all("mentions" not in hit.explanation for hit in full[:-1])


def test_an_unknown_id_is_an_error():
    with pytest.raises(InputError, match="no chunk has the id"):
        retriever(*IMAGES).search(Query(["red", QueryPart(id="7", weight=-1)]))


def test_parts_that_cancel_each_other_are_an_error():
    with pytest.raises(InputError, match="cancel"):
        retriever(*IMAGES).search(Query(["red", QueryPart("red", weight=-2)]))


def test_a_reranker_scores_what_is_unwanted_too():
    chunks = (chunk("a", colors=["red", "red", "blue"]), chunk("b", colors=["red", "red", "green"]))
    _, with_reranker = reranked(*chunks)
    unlike = [Query(["red", QueryPart(color, weight=-1)]) for color in ("blue", "green")]
    assert [names(with_reranker.search(query))[0] for query in unlike] == ["b", "a"]


@pytest.mark.parametrize(
    "wrong", [{"rerank_weight": 0.0}, {"rerank_weight": 1.5}, {"rerank_depth": 0}, {"rerank_budget_ms": 0.0}]
)
def test_a_reranker_cannot_have_no_say(wrong):
    with pytest.raises(InputError, match=f"{next(iter(wrong))} must be"):
        RetrievalConfig(**wrong)


SYNONYMS = SynonymEmbedder("repaired fixed mended", "hydrant standpipe", "car vehicle automobile")


def with_text_vectors(*chunks, **config):
    """Index chunks with text vectors; a chunk without text has none."""
    index = MemoryIndex(EMBEDDER.info, SYNONYMS.info)
    for each in chunks:
        index.begin(each.source)
        vector = EMBEDDER.embed_images(each.frames) if each.frames else EMBEDDER.embed_texts([each.text])
        text_vector = SYNONYMS.embed_texts([each.text]) if each.text else np.zeros((1, SYNONYMS.info.dimension))
        index.add([each], vector, text_vector)
    context = Context(index, Models.of(EMBEDDER, text_embedder=SYNONYMS), ImageStore(index))
    return Retriever(context, RetrievalConfig(**config))


PASSAGES = (
    chunk("minutes", "text", text="The assembly meets on Friday."),
    chunk("works", "text", text="A hydrant was mended on Monday."),
    chunk("garage", "text", text="The automobile is for sale."),
)


def test_a_paraphrase_without_a_common_word_is_found():
    query = "fixed standpipe"
    assert filled(*PASSAGES).search_bm25(query, 5) == []
    plain = retriever(*PASSAGES)
    assert "works" not in names(plain.search(query, k=1)), "without a text model it is one passage among others"
    first, *rest = with_text_vectors(*PASSAGES).search(query)
    assert names([first]) == ["works"]
    assert first.explanation.startswith("semantic similarity 0.58")
    assert first.score > rest[0].score


def test_an_image_is_found_by_the_meaning_of_its_caption():
    images = (chunk("street", colors=["gray"], text="a vehicle"), chunk("wall", colors=["gray"], text="a wall"))
    mute = [chunk(f"mute{i}", colors=["gray"]) for i in range(5)]
    hits = with_text_vectors(*mute, *images).search("car", k=9)
    assert names(hits)[0] == "street"
    assert not any("semantic similarity" in hit.explanation for hit in hits if hit.source.startswith("/mute"))


def test_dissimilar_texts_earn_no_score():
    hits = with_text_vectors(chunk("red", colors=["red"]), *PASSAGES).search("red")
    assert names(hits)[0] == "red"


def test_text_vectors_respect_kinds_filters_and_queries_without_text():
    search = with_text_vectors(chunk("street", colors=["red"], text="a vehicle"), *PASSAGES).search
    assert names(search("car", kinds={"image"})) == ["street"]
    assert names(search("car", filter={"source": "/garage"})) == ["garage"]
    assert search(to_query(None, color_frame("red")))[0].explanation == "visual similarity 1.00"


def reranked(*chunks, reranker=None):
    """Return a retriever without a reranker, and one whose reranker sees colors."""
    index = filled(*chunks)
    images = ChunkImages(index, chunks)
    models = Models.of(EMBEDDER, reranker=reranker or MatcherReranker(ColorVQA()))
    plain, reranked = Context(index, Models.of(EMBEDDER), images), Context(index, models, images)
    return Retriever(plain), Retriever(reranked)


MISLEADING = (
    chunk("sign", colors=["blue"], ocr="RED"),
    chunk("rose", colors=["red", "red", "red", "red", "gray"]),
    chunk("sky", colors=["blue"]),
)


def test_a_reranker_repairs_the_order():
    plain, with_reranker = reranked(*MISLEADING)
    assert names(plain.search("red"))[:2] == ["sign", "rose"]
    hits = with_reranker.search("red")
    assert names(hits)[:2] == ["rose", "sign"]
    assert hits[0].explanation.startswith("reranker score 0.97; visual similarity")
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_a_reranker_is_not_used_without_a_text():
    plain, with_reranker = reranked(*MISLEADING)
    image = color_frame("blue")
    assert with_reranker.search(to_query(None, image)) == plain.search(to_query(None, image))


def test_the_best_clip_of_a_video_becomes_the_hit():
    clips = video("a.mp4", "blue", "red")
    signed = chunk("a.mp4", "clip", ["blue"], ocr="RED", start_s=9.0)
    plain, with_reranker = reranked(*clips, signed)
    assert plain.search("red")[0].locator.start_s == 9.0
    (hit,) = with_reranker.search("red")
    assert hit.locator.start_s == 1.0
    assert len(hit.grouped_hits) == 2
