import numpy as np
import pytest

from florence_rag.embedding.base import Embedder, TextEmbedder
from florence_rag.errors import InputError
from florence_rag.perception.base import OCRReader, VisualQA
from florence_rag.testing import (
    COLORS,
    ColorEmbedder,
    ColorVQA,
    ScriptedReader,
    ScriptedVQA,
    SynonymEmbedder,
    color_frame,
    color_shares,
)

EMBEDDER = ColorEmbedder()


def test_the_doubles_implement_the_protocols():
    assert isinstance(EMBEDDER, Embedder)
    assert isinstance(ColorVQA(), VisualQA)
    assert isinstance(ScriptedVQA({}), VisualQA)
    assert isinstance(ScriptedReader({}), OCRReader)


@pytest.mark.parametrize("color", COLORS)
def test_an_image_of_one_color_has_all_of_its_share(color):
    frame = color_frame(color)
    assert (frame.shape, frame.dtype) == ((48, 48, 3), np.uint8)
    assert color_shares(frame)[list(COLORS).index(color)] == 1.0


def test_stripes_share_the_image():
    np.testing.assert_allclose(
        sorted(color_shares(color_frame("red", "blue", size_px=100)))[-2:], [0.5, 0.5], atol=0.02
    )


def test_images_and_texts_of_one_color_have_similar_vectors():
    images = EMBEDDER.embed_images([color_frame("red"), color_frame("blue", "green")])
    texts = EMBEDDER.embed_texts(["a RED car", "green, then blue", "a car"])
    np.testing.assert_allclose(images @ texts.T, [[1, 0, 0], [0, 1, 0]], atol=1e-2)
    np.testing.assert_allclose(np.linalg.norm([*images, *texts], axis=1), 1.0, rtol=1e-6)


def test_no_input_has_no_vectors():
    assert EMBEDDER.embed_images([]).shape == EMBEDDER.embed_texts([]).shape == (0, EMBEDDER.info.dimension)


def test_color_vqa_answers_with_the_largest_color():
    result = ColorVQA().answer(color_frame("red", "red", "red", "blue"), "What color?")
    assert (result.answer, result.confidence) == ("red", 0.75)
    assert result.candidates == (("red", 0.75), ("blue", 0.25))


def test_color_vqa_matches_by_the_colors_named():
    fits = ColorVQA().match([color_frame("red")] * 3, ["red?", "blue?", "anything?"])
    np.testing.assert_allclose(fits, [1.0, 0.0, 0.5])


def test_scripted_vqa_finds_its_answer_by_a_part_of_the_question():
    vqa = ScriptedVQA({"color": ("red", 0.9), "": ("yes", 0.6)}, fit=0.7)
    assert vqa.answer(color_frame("blue"), "What Color is it?").answer == "red"
    assert vqa.answer(color_frame("blue"), "Is it?").answer == "yes"
    assert vqa.match([color_frame("blue")] * 2, ["a", "b"]).tolist() == pytest.approx([0.7, 0.7])
    assert vqa.asked == ["What Color is it?", "Is it?"]


def test_scripted_vqa_refuses_a_question_without_an_answer():
    with pytest.raises(InputError, match="no answer is scripted for 'Why'"):
        ScriptedVQA({"color": ("red", 1.0)}).answer(color_frame("red"), "Why")


def test_scripted_reader_reads_by_color():
    reader = ScriptedReader({"red": "STOP"})
    assert [region.text for region in reader.read(color_frame("red"))] == ["STOP"]
    assert reader.read(color_frame("blue")) == []
    assert reader.reads == 2


def test_synonyms_point_the_same_way_and_other_words_elsewhere():
    embedder = SynonymEmbedder("dog hound", "car automobile")
    dog, hound, both, other = embedder.embed_texts(["dog", "HOUND", "dog, car", "boat"])
    assert isinstance(embedder, TextEmbedder)
    assert dog @ hound == pytest.approx(1)
    assert dog @ both == pytest.approx(0.5**0.5)
    assert dog @ other == 0
    assert embedder.embed_texts([]).shape == (0, embedder.info.dimension)
    assert np.linalg.norm(embedder.embed_texts(["..."])) == 1
