import numpy as np
import pytest

from florence_rag.errors import InputError, ModelError
from florence_rag.perception.base import Reranker
from florence_rag.perception.cross_encoder import CrossEncoderReranker
from florence_rag.testing import color_frame
from tests.models.tiny_sentence_transformers import (
    save_bert,
    save_clip,
    save_seeing_cross_encoder,
    save_text_cross_encoder,
)

FRAMES = [color_frame("red"), color_frame("blue", size_px=60), color_frame("green")]


@pytest.fixture(scope="module")
def reading(tmp_path_factory):
    folder = save_text_cross_encoder(tmp_path_factory.mktemp("reading"))
    return CrossEncoderReranker.from_pretrained(folder, name="reading", device="cpu")


@pytest.fixture(scope="module")
def seeing(tmp_path_factory):
    folder = save_seeing_cross_encoder(tmp_path_factory.mktemp("seeing"))
    return CrossEncoderReranker.from_pretrained(folder, name="seeing", device="cpu")


def test_both_are_rerankers_that_say_what_they_read(reading, seeing):
    assert isinstance(reading, Reranker) and isinstance(seeing, Reranker)
    assert (reading.reads, seeing.reads) == ({"text"}, {"text", "image"})


def test_texts_get_the_sigmoid_of_what_the_network_says(reading):
    texts = ["red car", "a blue dog", "the green boat"]
    scores = reading.score("red", texts)
    logits = reading._model.predict([("red", text) for text in texts], activation_fn=lambda score: score)
    assert (scores.shape, scores.dtype) == ((3,), np.float32)
    assert np.allclose(scores, 1 / (1 + np.exp(-logits)), atol=1e-6)
    assert reading.score("red", []).shape == (0,)


def test_pictures_and_texts_may_be_mixed_and_keep_their_places(seeing):
    candidates = [FRAMES[0], "a blue dog", FRAMES[1], "red car"]
    mixed = seeing.score("red", candidates)
    assert mixed.dtype == np.float32
    assert np.all((mixed > 0) & (mixed < 1))
    assert np.allclose(mixed, [seeing.score("red", [candidate])[0] for candidate in candidates], atol=1e-5)
    assert len(set(mixed.round(6))) == 4


def test_the_query_and_the_picture_both_count(seeing):
    of_red, of_dog = seeing.score("red", FRAMES), seeing.score("dog", FRAMES)
    assert not np.allclose(of_red, of_dog, atol=1e-5)
    assert len(set(of_red.round(6))) == 3


def test_a_text_that_names_a_picture_is_a_text(seeing):
    """The library would fetch it."""
    scores = seeing.score("http://127.0.0.1:9/a.png", ["http://127.0.0.1:9/b.png", FRAMES[0]])
    assert np.all((scores > 0) & (scores < 1))


def test_a_reranker_of_texts_refuses_pictures(reading):
    with pytest.raises(InputError, match="'reading' reads texts only; give it the caption of an image"):
        reading.score("red", FRAMES)


def test_an_empty_query_is_refused(reading):
    with pytest.raises(InputError, match="the query is empty"):
        reading.score("  ", ["red"])


def test_a_model_of_several_scores_is_refused(tmp_path):
    with pytest.raises(ModelError, match="'nli' gives 3 scores to a pair; a reranker gives one"):
        CrossEncoderReranker.from_pretrained(save_text_cross_encoder(tmp_path, labels=3), name="nli", device="cpu")


@pytest.mark.parametrize("save", [save_bert, save_clip])
def test_an_embedder_is_refused(tmp_path, save):
    """The library would give it a head of random weights."""
    with pytest.raises(ModelError, match="'x' was not trained to score pairs; it can serve as an embedder"):
        CrossEncoderReranker.from_pretrained(save(tmp_path), name="x", device="cpu")


def test_a_model_without_words_for_a_pair_is_refused(tmp_path):
    folder = save_seeing_cross_encoder(tmp_path, template="{{ messages | length }}")
    with pytest.raises(ModelError, match=r"'x' cannot score pairs: The chat template of .* cannot carry") as raised:
        CrossEncoderReranker.from_pretrained(folder, name="x", device="cpu")
    assert "\n" not in str(raised.value)


def test_missing_files_are_named():
    with pytest.raises(ModelError, match="there is no folder '/nowhere'"):
        CrossEncoderReranker.from_pretrained("/nowhere", name="x")


def test_a_seeing_model_that_is_none_of_the_library_says_what_it_lacks(tmp_path):
    save_seeing_cross_encoder(tmp_path)
    with pytest.raises(
        ModelError, match=r"'x' writes about images, and has no config_sen.* .* CrossEncoder\.save_pretr"
    ):
        CrossEncoderReranker.from_pretrained(tmp_path / "plain", name="x", device="cpu")
