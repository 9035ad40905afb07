import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import SiglipModel, SiglipProcessor

from florence_rag.embedding.base import Embedder, EmbedderCapabilities, QueryEmbedder, TextEmbedder, embed_queries
from florence_rag.embedding.sentence_transformers import SentenceTransformerEmbedder, SentenceTransformerTextEmbedder
from florence_rag.errors import InputError, ModelError
from florence_rag.loading.loaders import EMBEDDER
from florence_rag.loading.model_loader import load_model
from florence_rag.loading.model_options import ModelOptions
from florence_rag.testing import ColorEmbedder, color_frame
from tests.models.tiny_sentence_transformers import (
    TEXT_TOKENS,
    save_bert,
    save_clip,
    save_siglip,
    save_text_cross_encoder,
)

PROMPTS = {"query": "find: ", "document": ""}


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    return save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def clip(clip_folder):
    return SentenceTransformerEmbedder.from_pretrained(clip_folder, name="tiny-clip", device="cpu")


@pytest.fixture(scope="module")
def bert_folder(tmp_path_factory):
    return save_bert(tmp_path_factory.mktemp("bert"), prompts=PROMPTS)


@pytest.fixture(scope="module")
def bert(bert_folder):
    return SentenceTransformerTextEmbedder.from_pretrained(bert_folder, name="tiny-bert", device="cpu")


def frames():
    sizes = ((48, 64), (20, 90), (32, 32))
    return [np.random.default_rng(i).integers(0, 256, (*size, 3)).astype(np.uint8) for i, size in enumerate(sizes)]


def test_images_and_texts_have_unit_vectors_of_one_space(clip):
    images, texts = clip.embed_images(frames()), clip.embed_texts(["red", "a blue car"])
    assert (images.shape, texts.shape, clip.info.dimension) == ((3, 8), (2, 8), 8)
    assert images.dtype == texts.dtype == np.float32
    assert np.allclose(np.linalg.norm([*images, *texts], axis=1), 1, atol=1e-5)
    assert clip.embed_images([]).shape == clip.embed_texts([]).shape == (0, 8)


def test_it_is_an_embedder_and_a_text_embedder(clip, bert):
    assert isinstance(clip, Embedder) and isinstance(clip, TextEmbedder) and isinstance(clip, QueryEmbedder)
    assert isinstance(bert, TextEmbedder) and not isinstance(bert, Embedder)


def test_vectors_do_not_depend_on_the_number_of_items(clip, bert):
    images, texts = frames(), ["red", "a blue car", "dog"]
    single = np.concatenate([clip.embed_images([frame]) for frame in images])
    assert np.allclose(single, clip.embed_images(images), atol=1e-5)
    for embedder in (clip, bert):
        alone = np.concatenate([embedder.embed_texts([text]) for text in texts])
        assert np.allclose(alone, embedder.embed_texts(texts), atol=1e-5)


def test_vectors_do_not_depend_on_the_batch_size(clip, clip_folder):
    model = SentenceTransformer(str(clip_folder), device="cpu")
    in_pairs = SentenceTransformerEmbedder(model, name="x", fingerprint="0", batch=2)
    assert np.allclose(in_pairs.embed_images(frames()), clip.embed_images(frames()), atol=1e-5)


def test_the_fingerprint_depends_on_the_weights(clip, clip_folder, tmp_path):
    again = SentenceTransformerEmbedder.from_pretrained(clip_folder, name="tiny-clip", device="cpu")
    assert again.info == clip.info
    assert clip.info.preprocessing == f"clip, texts of {TEXT_TOKENS} tokens"
    other = SentenceTransformerEmbedder.from_pretrained(save_clip(tmp_path, seed=1), name="tiny-clip", device="cpu")
    assert other.info.fingerprint != clip.info.fingerprint


def test_prompts_are_part_of_the_recorded_preprocessing(bert, bert_folder, tmp_path):
    plain = SentenceTransformerTextEmbedder.from_pretrained(save_bert(tmp_path), name="tiny-bert", device="cpu")
    assert plain.info.fingerprint == bert.info.fingerprint
    assert plain.info.preprocessing == "bert, texts of 32 tokens"
    assert bert.info.preprocessing.startswith("bert, texts of 32 tokens, prompts ")


def test_only_queries_get_the_prompt_for_queries(bert):
    as_query, as_text = bert.embed_queries(["red dog"]), bert.embed_texts(["red dog"])
    assert np.allclose(as_query, bert.embed_texts(["find: red dog"]), atol=1e-5)
    assert not np.allclose(as_query, as_text, atol=1e-3)
    assert np.array_equal(embed_queries(bert, ["red dog"]), as_query)


def test_an_embedder_without_embed_queries_embeds_queries_as_texts():
    colors = ColorEmbedder()
    assert np.array_equal(embed_queries(colors, ["red"]), colors.embed_texts(["red"]))


def test_a_text_that_names_an_image_is_a_text(clip, tmp_path, monkeypatch):
    """Given plain strings, the library would download or open the images."""
    monkeypatch.chdir(tmp_path)
    from PIL import Image

    Image.fromarray(color_frame("red")).save("red.png")
    names = ["red.png", "http://127.0.0.1:9/red.png", "data:image/png;base64,AAAA"]
    assert np.allclose(clip.embed_texts(names), clip.embed_queries(names))
    assert not np.allclose(clip.embed_texts(names[:1]), clip.embed_images([color_frame("red")]), atol=1e-2)


def test_a_truncated_text_is_logged_once(clip_folder, caplog):
    embedder = SentenceTransformerEmbedder.from_pretrained(clip_folder, name="tiny-clip", device="cpu")
    head = "abcdefghijklmnop"
    with caplog.at_level(logging.WARNING, logger="florence_rag"):
        embedder.embed_texts(["a"])
        assert caplog.messages == []
        first = embedder.embed_texts([f"{head} tail", "short"])
        second = embedder.embed_queries([f"{head} another tail"])
    assert np.allclose(first[0], second[0], atol=1e-5)
    assert caplog.messages == [
        "tiny-clip reads 16 tokens of a text; the vector of a text with 22 tokens ignores the rest of it"
    ]


def test_the_network_limits_texts_if_the_tokenizer_does_not(tmp_path):
    siglip = SentenceTransformerEmbedder.from_pretrained(save_siglip(tmp_path), name="siglip", device="cpu")
    assert siglip.embed_texts(["red " * 500]).shape == (1, 16)
    assert siglip.info.preprocessing == f"siglip, texts of {TEXT_TOKENS} tokens in lower case"


def test_siglip_pads_texts_to_the_full_length(tmp_path):
    folder = save_siglip(tmp_path)
    embedder = SentenceTransformerEmbedder.from_pretrained(folder, name="siglip", device="cpu")
    inputs = SiglipProcessor.from_pretrained(folder)(
        text=["a red dog"], padding="max_length", max_length=TEXT_TOKENS, return_tensors="pt"
    )
    expected = SiglipModel.from_pretrained(folder).get_text_features(**inputs).pooler_output[0].detach().numpy()
    for texts in (["a red dog"], ["a red dog", "the red blue green car dog boat"]):
        assert embedder.embed_texts(texts)[0] @ expected / np.linalg.norm(expected) == pytest.approx(1, abs=1e-5)


def test_dimension_truncates_vectors(clip, clip_folder):
    short = SentenceTransformerEmbedder.from_pretrained(clip_folder, name="tiny-clip", device="cpu", dimension=4)
    cut = clip.embed_texts(["red"])[:, :4]
    assert short.info.dimension == 4
    assert np.allclose(short.embed_texts(["red"]), cut / np.linalg.norm(cut), atol=1e-5)
    assert short.embed_images(frames()).shape == (3, 4)
    with pytest.raises(InputError, match=r"dimension is 9; 'tiny-clip' has 8 dimensions"):
        SentenceTransformerEmbedder.from_pretrained(clip_folder, name="tiny-clip", device="cpu", dimension=9)


@pytest.mark.parametrize(
    ("backend", "precision"),
    [
        ("torch", "bf16"),
        ("torch", "int8"),
        pytest.param("openvino", "bf16", marks=pytest.mark.slow),
        ("onnx", "fp32"),
    ],
)
def test_other_precisions_and_backends_are_close_to_fp32_and_have_the_same_info(clip, clip_folder, backend, precision):
    fast = SentenceTransformerEmbedder.from_pretrained(
        clip_folder, name="tiny-clip", device="cpu", precision=precision, backend=backend
    )
    assert fast.info == clip.info
    cosines = np.sum(fast.embed_images(frames()) * clip.embed_images(frames()), axis=1)
    assert cosines.min() > 0.99
    assert np.array_equal(fast.embed_texts(["a blue car"]), clip.embed_texts(["a blue car"]))
    assert fast.capabilities.workers == (torch.get_num_threads() if backend == "torch" else 1)


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_siglip_runs_in_other_precisions(tmp_path, precision):
    folder = save_siglip(tmp_path)
    plain, fast = (
        SentenceTransformerEmbedder.from_pretrained(folder, name="siglip", device="cpu", precision=each)
        for each in ("fp32", precision)
    )
    assert np.sum(plain.embed_images(frames()) * fast.embed_images(frames()), axis=1).min() > 0.99


def test_a_precision_concerns_a_whole_text_model(bert, bert_folder):
    half = SentenceTransformerTextEmbedder.from_pretrained(bert_folder, name="tiny-bert", precision="bf16")
    cosine = half.embed_texts(["a blue car"])[0] @ bert.embed_texts(["a blue car"])[0]
    assert half.info == bert.info and 0.99 < cosine < 0.999999


def test_an_unsupported_combination_is_refused_with_the_supported_ones(clip_folder, bert_folder):
    with pytest.raises(InputError, match=r"'openvino' with precision 'int8' is not supported; there are torch with"):
        SentenceTransformerEmbedder.from_pretrained(
            clip_folder, name="x", device="cpu", backend="openvino", precision="int8"
        )
    for options in ({"backend": "onnx"}, {"precision": "int8"}, {"precision": "fp8"}):
        with pytest.raises(InputError, match=r"'x' has no image encoder .* 'torch' with fp32 or bf16, not on"):
            SentenceTransformerTextEmbedder.from_pretrained(bert_folder, name="x", device="cpu", **options)


def test_threads_embed_images_at_the_same_time(clip):
    assert clip.capabilities == EmbedderCapabilities(workers=torch.get_num_threads(), detail_px=64, device="cpu")
    images = [np.random.default_rng(i).integers(0, 256, (40, 40, 3)).astype(np.uint8) for i in range(12)]
    with ThreadPoolExecutor(4) as pool:
        found = np.concatenate(list(pool.map(lambda one: clip.embed_images([one]), images)))
    assert np.allclose(found, clip.embed_images(images), atol=1e-5)


def test_threads_embed_texts_at_the_same_time(clip):
    texts = [[letter * (i + 1) for i in range(4)] for letter in "abcdefgh"]
    expected = [clip.embed_texts(each) for each in texts]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(clip.embed_texts, texts))
    assert all(np.allclose(one, other, atol=1e-5) for one, other in zip(found, expected, strict=True))


def test_a_text_model_is_refused_as_embedder_of_images(bert_folder):
    with pytest.raises(ModelError, match=r"'tiny' cannot embed images; it takes text, so use it as text_embedder"):
        SentenceTransformerEmbedder.from_pretrained(bert_folder, name="tiny", device="cpu")


def test_a_reranker_is_refused_as_embedder(tmp_path):
    folder = save_text_cross_encoder(tmp_path)
    with pytest.raises(ModelError, match="'tiny' scores pairs and embeds nothing; it can serve as reranker"):
        SentenceTransformerTextEmbedder.from_pretrained(folder, name="tiny", device="cpu")


def test_a_model_that_was_never_fetched_is_named():
    with pytest.raises(ModelError, match="'owner/never-fetched'"):
        load_model(EMBEDDER, "owner/never-fetched", ModelOptions(offline=True))
