import numpy as np
import pytest

from florence_rag.embedding.base import Embedder, TextEmbedder
from florence_rag.errors import InputError
from florence_rag.index.base import ChunkIndex
from florence_rag.perception.base import OCRReader, VisualQA
from florence_rag.testing import (
    COLORS,
    ColorEmbedder,
    ColorVQA,
    MemoryIndex,
    ScriptedReader,
    ScriptedVQA,
    SynonymEmbedder,
    color_frame,
    color_shares,
)
from florence_rag.types import Chunk, Locator, Source

EMBEDDER = ColorEmbedder()


def test_the_doubles_keep_the_protocols():
    assert isinstance(EMBEDDER, Embedder)
    assert isinstance(ColorVQA(), VisualQA)
    assert isinstance(ScriptedVQA({}), VisualQA)
    assert isinstance(ScriptedReader({}), OCRReader)
    assert isinstance(MemoryIndex(EMBEDDER.info), ChunkIndex)


@pytest.mark.parametrize("color", COLORS)
def test_a_picture_of_one_color_is_all_that_color(color):
    frame = color_frame(color)
    assert (frame.shape, frame.dtype) == ((48, 48, 3), np.uint8)
    assert color_shares(frame)[list(COLORS).index(color)] == 1.0


def test_stripes_share_the_picture():
    np.testing.assert_allclose(
        sorted(color_shares(color_frame("red", "blue", size_px=100)))[-2:], [0.5, 0.5], atol=0.02
    )


def test_pictures_and_texts_of_one_color_agree():
    pictures = EMBEDDER.embed_images([color_frame("red"), color_frame("blue", "green")])
    texts = EMBEDDER.embed_texts(["a RED car", "green, then blue", "a car"])
    np.testing.assert_allclose(pictures @ texts.T, [[1, 0, 0], [0, 1, 0]], atol=1e-2)
    np.testing.assert_allclose(np.linalg.norm([*pictures, *texts], axis=1), 1.0, rtol=1e-6)


def test_nothing_is_embedded_as_nothing():
    assert EMBEDDER.embed_images([]).shape == EMBEDDER.embed_texts([]).shape == (0, EMBEDDER.info.dimension)


def test_color_vqa_answers_with_the_largest_color():
    result = ColorVQA().answer(color_frame("red", "red", "red", "blue"), "What colour?")
    assert (result.answer, result.confidence) == ("red", 0.75)
    assert result.candidates == (("red", 0.75), ("blue", 0.25))


def test_color_vqa_matches_by_the_colors_named():
    fits = ColorVQA().match([color_frame("red")] * 3, ["red?", "blue?", "anything?"])
    np.testing.assert_allclose(fits, [1.0, 0.0, 0.5])


def test_scripted_vqa_finds_its_answer_by_a_part_of_the_question():
    vqa = ScriptedVQA({"colour": ("red", 0.9), "": ("yes", 0.6)}, fit=0.7)
    assert vqa.answer(color_frame("blue"), "What Colour is it?").answer == "red"
    assert vqa.answer(color_frame("blue"), "Is it?").answer == "yes"
    assert vqa.match([color_frame("blue")] * 2, ["a", "b"]).tolist() == pytest.approx([0.7, 0.7])
    assert vqa.asked == ["What Colour is it?", "Is it?"]


def test_scripted_vqa_refuses_a_question_without_an_answer():
    with pytest.raises(InputError, match="no answer is scripted for 'Why'"):
        ScriptedVQA({"colour": ("red", 1.0)}).answer(color_frame("red"), "Why")


def test_scripted_reader_reads_by_color():
    reader = ScriptedReader({"red": "STOP"})
    assert [region.text for region in reader.read(color_frame("red"))] == ["STOP"]
    assert reader.read(color_frame("blue")) == []
    assert reader.reads == 2


def source(name):
    return Source(f"/{name}", "image", 1, 1, name)


def filled(**texts):
    """An index of one complete text chunk for each name."""
    index = MemoryIndex(EMBEDDER.info)
    for name, text in texts.items():
        index.begin(source(name))
        chunk = Chunk(source(name), "text", Locator(start_s=float(len(name))), text=text, metadata={"tag": name[0]})
        index.add([chunk], EMBEDDER.embed_texts([text]))
        index.complete(source(name))
    return index


def names(hits):
    return [hit.source.strip("/") for hit in hits]


def test_memory_index_searches_by_cosine_and_by_words():
    index = filled(a="red and red", b="a blue whale", c="red and blue and a very long sentence about nothing")
    assert names(index.search_vector(EMBEDDER.embed_texts(["red"])[0], 2)) == ["a", "c"]
    assert names(index.search_bm25("blue whales", 3)) == ["b", "c"]
    assert index.search_bm25("green", 3) == []


@pytest.mark.parametrize(
    ("filter", "found"),
    [
        ({"source": "/bb"}, ["bb"]),
        ({"source": ["/a", "/bb"]}, ["a", "bb"]),
        ({"source": {"$prefix": "/c"}}, ["ccc"]),
        ({"start_s": {"$gte": 2, "$lt": 3}}, ["bb"]),
        ({"start_s": {"$gt": 1}, "metadata.tag": "c"}, ["ccc"]),
        ({"metadata.tag": {"$ne": "a"}}, ["bb", "ccc"]),
        ({"metadata.none": None}, ["a", "bb", "ccc"]),
        ({"metadata.none.deep": "x"}, []),
        ({"kind": "image"}, []),
    ],
)
def test_memory_index_filters(filter, found):
    index = filled(a="red", bb="red", ccc="red")
    assert sorted(names(index.search_vector(EMBEDDER.embed_texts(["red"])[0], 9, filter=filter))) == found


def test_memory_index_refuses_filters_that_it_or_milvus_cannot_evaluate():
    with pytest.raises(InputError, match="MemoryIndex cannot evaluate 'start_s > 3'"):
        filled(a="red").search_bm25("red", 1, filter="start_s > 3")
    with pytest.raises(InputError, match="filter field 'size' is unknown"):
        filled(a="red").search_bm25("red", 1, filter={"size": 3})


def test_memory_index_keeps_a_ledger():
    index = filled(a="red", b="blue")
    index.fail("/a", "broken")
    assert list(index.sources()) == ["/b"]
    assert [failure.reason for failure in index.failures()] == ["broken"]
    assert index.info().chunks["text"] == 1
    index.begin(source("a"))
    index.complete(source("a"))
    assert (list(index.sources()), index.failures()) == (["/a", "/b"], ())
    assert index.delete_sources(["/b", "/unknown"]) == 1
    assert list(index.sources()) == ["/a"]


def test_memory_index_gives_back_chunks_and_vectors_by_id():
    index = filled(a="red", b="blue")
    blue, red = (index.search_bm25(word, 1)[0].id for word in ("blue", "red"))
    assert names(index.get([red, "unknown", blue])) == ["a", "b"]
    np.testing.assert_array_equal(index.vectors([blue]), EMBEDDER.embed_texts(["blue"]))
    with pytest.raises(InputError, match="no chunk has the id 'unknown'"):
        index.vectors(["unknown"])


def test_memory_index_refuses_what_was_not_announced_and_vectors_that_do_not_fit():
    index = MemoryIndex(EMBEDDER.info)
    chunk = Chunk(source("a"), "text", text="red")
    with pytest.raises(InputError, match="not begun: \\['/a'\\]"):
        index.add([chunk], EMBEDDER.embed_texts(["red"]))
    index.begin(source("a"))
    with pytest.raises(InputError, match="vectors must be finite and of unit length"):
        index.add([chunk], np.full((1, EMBEDDER.info.dimension), np.nan))


def test_synonyms_point_the_same_way_and_other_words_elsewhere():
    embedder = SynonymEmbedder("dog hound", "car automobile")
    dog, hound, both, other = embedder.embed_texts(["dog", "HOUND", "dog, car", "boat"])
    assert isinstance(embedder, TextEmbedder)
    assert dog @ hound == pytest.approx(1)
    assert dog @ both == pytest.approx(0.5**0.5)
    assert dog @ other == 0
    assert embedder.embed_texts([]).shape == (0, embedder.info.dimension)
    assert np.linalg.norm(embedder.embed_texts(["..."])) == 1


def test_memory_index_searches_by_the_vectors_of_words():
    embedder = SynonymEmbedder("dog hound", "car automobile")
    index = MemoryIndex(EMBEDDER.info, embedder.info)
    for name, text in {"a": "a hound", "b": "an automobile", "c": ""}.items():
        index.begin(source(name))
        words = embedder.embed_texts([text]) if text else np.zeros((1, embedder.info.dimension))
        index.add([Chunk(source(name), "text", text=text)], EMBEDDER.embed_texts([text]), words)
    assert names(index.search_text_vector(embedder.embed_texts(["dog"])[0], 5)) == ["a", "b"]
    assert index.info().text_embedder == embedder.info
    with pytest.raises(InputError, match="keeps text vectors; give add text_vectors"):
        index.add([Chunk(source("a"), "text", text="x")], EMBEDDER.embed_texts(["x"]))
    with pytest.raises(InputError, match="keeps no text vectors"):
        MemoryIndex(EMBEDDER.info).search_text_vector(np.zeros(3), 1)
