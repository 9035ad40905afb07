"""Queries are embedded without PyTorch, with the vectors of the model, once the model was opened in full.

For images, it is opened once more, by the first one that is a query.
"""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from florence_rag import FlorenceRAG, Query, QueryPart
from florence_rag.embedding.base import embed_queries
from florence_rag.errors import InputError
from florence_rag.loading import loaders
from florence_rag.loading.model_loader import ModelLoader, load_model
from florence_rag.loading.model_options import ModelOptions
from florence_rag.loading.query_encoders import QueryFirstEmbedder, load_embedder
from florence_rag.models.registry import ASSETS, TINY, state_file
from tests.models.tiny_sentence_transformers import save_bert, save_clip, save_siglip

QUERIES = [
    "a red car",
    "A RED Dog\u00fcn \u201cquoted\u201d &amp; caf\u00e9",
    "the red blue green car dog boat " * 40,
    "</s> [SEP] <|endoftext|>",
    "\u8d64\u3044\u8eca \U0001f697",
]


SIZES = [(1, 1), (3, 200), (150, 2), (40, 60), (480, 320)]
IMAGES = [np.linspace((0, 255, 9), (255, 40, 99), h * w).astype(np.uint8).reshape(h, w, 3) for h, w in SIZES]


def assert_close(vectors, expected):
    """Compare by the cosine, because the model scales images with PyTorch, which rounds differently."""
    assert vectors.shape == expected.shape
    assert (vectors * expected).sum(axis=1).min() > 0.9999


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture(params=["florence", "clip", "siglip", "siglip without attention mask"])
def model(request, tmp_path):
    if request.param == "florence":
        return TINY
    folder = (save_clip if request.param == "clip" else save_siglip)(tmp_path / "model")
    if "without" in request.param:
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "model_input_names": ["input_ids"]}))
    return str(folder)


def load(name: str, **options):
    role = loaders.EMBEDDER
    return load_embedder(ModelLoader(ModelOptions(offline=True, **options)), role.card(name))


def test_the_second_time_queries_have_the_same_vectors_without_the_model(model):
    assert not isinstance(load(model), QueryFirstEmbedder)
    found, full = load(model), load_model(loaders.EMBEDDER, model, ModelOptions(offline=True))
    assert isinstance(found, QueryFirstEmbedder)
    assert found.info == full.info
    np.testing.assert_allclose(found.embed_queries(QUERIES), embed_queries(full, QUERIES), atol=2e-5)


def test_the_second_image_has_the_same_vector_without_the_model(model, monkeypatch):
    load(model)
    expected = load_model(loaders.EMBEDDER, model, ModelOptions(offline=True)).embed_images(IMAGES)
    assert_close(load(model).embed_image_queries(IMAGES), expected)
    monkeypatch.setattr(ModelLoader, "load", None)
    found = load(model).embed_image_queries(IMAGES)
    assert_close(found, expected)
    assert found.dtype == np.float32


def test_indexed_images_and_many_queries_are_embedded_by_the_model(model):
    load(model)
    found, full = load(model), load_model(loaders.EMBEDDER, model, ModelOptions(offline=True))
    np.testing.assert_array_equal(found.embed_images(IMAGES), full.embed_images(IMAGES))
    np.testing.assert_array_equal(found.embed_image_queries(IMAGES * 2), full.embed_images(IMAGES * 2))
    np.testing.assert_array_equal(found.embed_texts(QUERIES), full.embed_texts(QUERIES))
    np.testing.assert_array_equal(found.embed_queries(QUERIES * 10), embed_queries(full, QUERIES * 10))
    assert found.embed_queries([]).shape == found.embed_image_queries([]).shape == (0, full.info.dimension)
    assert found.capabilities == full.capabilities


def test_images_whose_network_numpy_lacks_are_always_embedded_by_the_model(tmp_path):
    folder = save_clip(tmp_path / "model")
    path = next(folder.rglob("config.json"))
    config = json.loads(path.read_text())
    config["vision_config"]["hidden_act"] = "relu"
    path.write_text(json.dumps(config))
    expected = load(str(folder)).embed_images(IMAGES)
    for _ in range(2):
        found = load(str(folder))
        assert isinstance(found, QueryFirstEmbedder)
        np.testing.assert_array_equal(found.embed_image_queries(IMAGES), expected)


def test_a_long_query_is_an_error_if_that_was_asked_for():
    load(TINY)
    with pytest.raises(InputError, match=r"florence-tiny reads 76 tokens of a text, and .* shorten it"):
        load(TINY, too_long="error").embed_queries(["red car " * 100])


def test_changed_files_are_opened_in_full(tmp_path):
    folder = save_clip(tmp_path / "model")
    load(str(folder))
    assert isinstance(load(str(folder)), QueryFirstEmbedder)
    shutil.copytree(folder, tmp_path / "moved")
    assert not isinstance(load(str(tmp_path / "moved")), QueryFirstEmbedder)
    settings = next(folder.rglob("tokenizer_config.json"))
    os.utime(settings, ns=(0, 0))
    assert not isinstance(load(str(folder)), QueryFirstEmbedder)


@pytest.mark.parametrize(("old", "new"), [("eps", "epsilon"), ("end_token", "end"), ("crop", "cut"), ("[{", "{")])
def test_a_damaged_record_is_no_error(old, new):
    load(TINY)
    path = state_file("query_encoders.json")
    path.write_text(path.read_text().replace(old, new))
    assert not isinstance(load(TINY), QueryFirstEmbedder)
    path.write_text("[")
    assert not isinstance(load(TINY), QueryFirstEmbedder)
    assert isinstance(load(TINY), QueryFirstEmbedder)


def test_other_networks_are_always_opened_in_full(tmp_path, monkeypatch):
    def load_text_model(card, loader):
        model = loaders._text_sentence_transformer(card, loader)
        model.embed_images = lambda frames: np.zeros((len(frames), model.info.dimension), dtype=np.float32)
        return model

    folder = save_bert(tmp_path / "model")
    monkeypatch.setitem(loaders.EMBEDDER.loaders, "sentence-transformers", load_text_model)
    for _ in range(2):
        assert not isinstance(load(str(folder)), QueryFirstEmbedder)


def test_a_network_whose_vectors_differ_is_always_opened_in_full(tmp_path):
    folder = save_clip(tmp_path / "model")
    tokenizer = next(folder.rglob("tokenizer.json"))
    tokenizer.write_text(tokenizer.read_text().replace('"red"', '"rod"'))
    (tokenizer.parent / "vocab.json").unlink(missing_ok=True)
    for _ in range(2):
        found = load(str(folder))
    full = load_model(loaders.EMBEDDER, str(folder), ModelOptions(offline=True))
    np.testing.assert_allclose(embed_queries(found, QUERIES), embed_queries(full, QUERIES), atol=2e-5)


def test_options_of_the_image_encoder_open_the_model_in_full():
    load(TINY)
    assert not isinstance(load(TINY, precision="bf16"), QueryFirstEmbedder)


def test_searches_import_neither_torch_nor_decoders(tmp_path):
    corpus, db = tmp_path / "photos", tmp_path / "photos.db"
    shutil.copytree(ASSETS / "demo" / "corpus" / "photos", corpus)
    image = corpus / "street-01.jpg"
    options = {"ocr": "never", "captioner": "never"}
    with FlorenceRAG.open(db, TINY, **options) as rag:
        rag.add(corpus)
    queries = [
        {"query": "a red car"},
        {"image": str(image)},
        {"query": Query(["a car", QueryPart(image=str(image), weight=0.5)])},
    ]
    with FlorenceRAG.open(db, TINY, **options) as rag:
        expected = [[hit.id for hit in rag.search(**query)] for query in queries]
    code = """
import sys
from florence_rag import FlorenceRAG, Query, QueryPart
with FlorenceRAG.open(sys.argv[1], "florence-tiny", ocr="never", captioner="never") as rag:
    rag.add(sys.argv[2])
    print([[hit.id for hit in rag.search(**query)] for query in eval(sys.argv[3])])
    print(sorted({"torch", "transformers", "tifffile"} & sys.modules.keys()))
"""
    command = [sys.executable, "-c", code, db, corpus, repr(queries)]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert found.splitlines() == [str(expected), "[]"]
