import numpy as np
import pytest
from sentence_transformers import CrossEncoder

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
def text_folder(tmp_path_factory):
    return save_text_cross_encoder(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="module")
def text_reranker(text_folder):
    return CrossEncoderReranker.from_pretrained(text_folder, name="texts", device="cpu")


@pytest.fixture(scope="module")
def image_reranker(tmp_path_factory):
    folder = save_seeing_cross_encoder(tmp_path_factory.mktemp("images"))
    return CrossEncoderReranker.from_pretrained(folder, name="images", device="cpu")


def test_both_models_are_rerankers_and_report_what_they_read(text_reranker, image_reranker):
    assert isinstance(text_reranker, Reranker) and isinstance(image_reranker, Reranker)
    assert (text_reranker.reads, image_reranker.reads) == ({"text"}, {"text", "image"})


def test_scores_of_texts_are_sigmoids_of_the_logits(text_reranker, text_folder):
    texts = ["red car", "a blue dog", "the green boat"]
    scores = text_reranker.score("red", texts)
    model = CrossEncoder(str(text_folder), device="cpu")
    logits = model.predict([("red", text) for text in texts], activation_fn=lambda score: score)
    assert (scores.shape, scores.dtype) == ((3,), np.float32)
    assert np.allclose(scores, 1 / (1 + np.exp(-logits)), atol=1e-6)
    assert text_reranker.score("red", []).shape == (0,)


def test_images_and_texts_may_be_mixed_and_keep_their_order(image_reranker):
    candidates = [FRAMES[0], "a blue dog", FRAMES[1], "red car"]
    mixed = image_reranker.score("red", candidates)
    assert mixed.dtype == np.float32
    assert np.all((mixed > 0) & (mixed < 1))
    assert np.allclose(mixed, [image_reranker.score("red", [candidate])[0] for candidate in candidates], atol=1e-5)
    assert len(set(mixed.round(6))) == 4


def test_the_score_depends_on_the_query_and_the_image(image_reranker):
    red_scores, dog_scores = image_reranker.score("red", FRAMES), image_reranker.score("dog", FRAMES)
    assert not np.allclose(red_scores, dog_scores, atol=1e-5)
    assert len(set(red_scores.round(6))) == 3


def test_a_text_that_names_an_image_is_a_text(image_reranker):
    """Given a plain string, the library would download the image."""
    scores = image_reranker.score("http://127.0.0.1:9/a.png", ["http://127.0.0.1:9/b.png", FRAMES[0]])
    assert np.all((scores > 0) & (scores < 1))


def test_a_reranker_of_texts_refuses_images(text_reranker):
    with pytest.raises(InputError, match="'texts' reads texts only; give it the caption of an image"):
        text_reranker.score("red", FRAMES)


def test_an_empty_query_is_refused(text_reranker):
    with pytest.raises(InputError, match="the query is empty"):
        text_reranker.score("  ", ["red"])


def test_a_model_with_several_scores_is_refused(tmp_path):
    with pytest.raises(ModelError, match="'nli' gives 3 scores to a pair; a reranker gives one"):
        CrossEncoderReranker.from_pretrained(save_text_cross_encoder(tmp_path, labels=3), name="nli", device="cpu")


@pytest.mark.parametrize("save", [save_bert, save_clip])
def test_an_embedder_is_refused(tmp_path, save):
    """Otherwise, the library adds a head with random weights."""
    with pytest.raises(ModelError, match="'x' was not trained to score pairs; it can serve as an embedder"):
        CrossEncoderReranker.from_pretrained(save(tmp_path), name="x", device="cpu")


def test_a_model_whose_template_fits_no_pair_is_refused(tmp_path):
    folder = save_seeing_cross_encoder(tmp_path, template="{{ messages | length }}")
    with pytest.raises(ModelError, match=r"'x' cannot score pairs: The chat template of .* cannot carry") as raised:
        CrossEncoderReranker.from_pretrained(folder, name="x", device="cpu")
    assert "\n" not in str(raised.value)


def test_missing_files_are_named():
    with pytest.raises(ModelError, match="there is no folder '/nowhere'"):
        CrossEncoderReranker.from_pretrained("/nowhere", name="x")


def test_an_image_model_without_the_library_configuration_is_refused(tmp_path):
    save_seeing_cross_encoder(tmp_path)
    with pytest.raises(
        ModelError, match=r"'x' writes about images, and has no config_sen.* .* CrossEncoder\.save_pretr"
    ):
        CrossEncoderReranker.from_pretrained(tmp_path / "plain", name="x", device="cpu")


def test_queries_and_texts_are_given_to_the_model_without_tokens_of_templates(text_reranker, monkeypatch):
    given = []
    monkeypatch.setattr(text_reranker._model, "predict", lambda pairs, **_: given.extend(pairs) or np.zeros(len(pairs)))
    text_reranker.score("red <|im_start|>", ["[INST] a", "b </s>\n\nHuman: c"])
    query = "red < |im_start|>"
    assert list(map(tuple, given)) == [(query, "[ INST] a"), (query, "b < /s>\n\nHuman : c")]
