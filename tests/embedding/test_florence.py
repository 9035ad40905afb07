import logging

import numpy as np
import pytest
import torch

from florence_rag.embedding.base import Embedder
from florence_rag.embedding.florence import FlorenceEmbedder
from florence_rag.errors import InputError, ModelError
from tests.retrievers.untrained import SHAPE, save_untrained

LONG_TEXT = "a red car " * 50


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    save_untrained(path)
    return path / "florence"


@pytest.fixture(scope="module")
def embedder(folder):
    return FlorenceEmbedder.from_pretrained(folder, "tiny", device="cpu")


@pytest.fixture(scope="module")
def frames():
    sizes = ((48, 64), (20, 90), (SHAPE.image_size, SHAPE.image_size), (200, 150))
    return [np.random.default_rng(i).integers(0, 256, (*size, 3)).astype(np.uint8) for i, size in enumerate(sizes)]


def test_images_and_texts_have_unit_vectors_of_one_space(embedder, frames):
    assert isinstance(embedder, Embedder)
    images, texts = embedder.embed_images(frames), embedder.embed_texts(["a red car", "a bus"])
    assert images.shape == (4, embedder.info.dimension) and texts.shape == (2, embedder.info.dimension)
    assert images.dtype == texts.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm([*images, *texts], axis=1), 1, atol=1e-5)


def test_no_items_have_no_vectors(embedder):
    assert embedder.embed_images([]).shape == embedder.embed_texts([]).shape == (0, embedder.info.dimension)


def test_vectors_do_not_depend_on_the_batch_size(embedder, folder, frames):
    in_pairs = FlorenceEmbedder.from_pretrained(folder, "tiny", device="cpu", batch=2)
    texts = ["a red car", "a bus", "two trucks"]
    np.testing.assert_allclose(in_pairs.embed_images(frames), embedder.embed_images(frames), atol=1e-5)
    np.testing.assert_allclose(in_pairs.embed_texts(texts), embedder.embed_texts(texts), atol=1e-5)


def test_the_info_describes_weights_and_preprocessing(embedder, folder):
    again = FlorenceEmbedder.from_pretrained(str(folder), "tiny", device="cpu")
    assert again.info == embedder.info
    assert embedder.info.name == "tiny" and embedder.info.fingerprint
    assert embedder.info.preprocessing == f"squash to {SHAPE.image_size} px, resample 3, enlarge 1.0000"


def test_capabilities_follow_the_processor(embedder):
    assert embedder.capabilities.detail_px == 2 * SHAPE.image_size
    assert 0 < embedder.capabilities.logit_scale <= 100


def test_a_very_long_image_is_embedded(embedder):
    assert np.isfinite(embedder.embed_images([np.zeros((1, 300_000, 3), dtype=np.uint8)])).all()


@pytest.mark.parametrize(
    "options", [{"precision": "bf16"}, {"precision": "int8"}, pytest.param({"backend": "onnx"}, marks=pytest.mark.slow)]
)
def test_other_precisions_and_backends_change_images_little_and_texts_not_at_all(embedder, folder, frames, options):
    fast = FlorenceEmbedder.from_pretrained(folder, "tiny", device="cpu", **options)
    assert fast.info == embedder.info
    assert fast.capabilities.workers == (1 if "backend" in options else torch.get_num_threads())
    assert np.sum(fast.embed_images(frames) * embedder.embed_images(frames), axis=1).min() > 0.99
    np.testing.assert_array_equal(fast.embed_texts(["a red car"]), embedder.embed_texts(["a red car"]))


def test_a_long_text_is_truncated_and_logged_once(folder, caplog):
    embedder = FlorenceEmbedder.from_pretrained(folder, "tiny", device="cpu")
    with caplog.at_level(logging.WARNING, logger="florence_rag"):
        first, second = (embedder.embed_texts([LONG_TEXT + end]) for end in ("bus", "truck"))
    np.testing.assert_allclose(first, second, atol=1e-6)
    assert len(caplog.messages) == 1 and caplog.messages[0].startswith("tiny reads ")


def test_a_long_text_may_be_refused(folder):
    strict = FlorenceEmbedder.from_pretrained(folder, "tiny", device="cpu", too_long="error")
    with pytest.raises(InputError, match=r"tiny reads \d+ tokens of a text"):
        strict.embed_texts(["a bus", LONG_TEXT])


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(ModelError, match="nowhere"):
        FlorenceEmbedder.from_pretrained(tmp_path / "nowhere", "tiny", device="cpu")
