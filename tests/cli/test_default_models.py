"""The default models, as small networks in the layout of the hub's cache: whole, and with each file missing in turn."""

import json
import shutil
import string
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from PIL import Image
from transformers import GemmaTokenizer, SiglipConfig, SiglipImageProcessorPil, SiglipModel, SiglipProcessor

from florence_rag.embedding import sentence_transformers
from florence_rag.loading import loaders
from florence_rag.loading.model_loader import load_model
from florence_rag.loading.model_options import ModelOptions
from florence_rag.models.registry import CARDS, DEFAULT
from tests.perception.tiny import save_blip, save_florence2

EMBEDDER, CAPTIONER, VQA = DEFAULT, CARDS[DEFAULT].default_captioner, CARDS[DEFAULT].default_vqa


def save_siglip2(folder: Path) -> None:
    """Save a SigLIP 2 of one resolution as its authors did: as the model type siglip, with the tokenizer of Gemma."""
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *string.ascii_letters, *string.punctuation]
    pieces += [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer = GemmaTokenizer(
        vocab={piece: i for i, piece in enumerate(pieces)}, merges=[], add_bos_token=False, add_eos_token=True
    )
    shape = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = shape | {"vocab_size": len(pieces), "max_position_embeddings": 64, "projection_size": 32}
    torch.manual_seed(0)
    SiglipModel(
        SiglipConfig(text_config=text, vision_config=shape | {"image_size": 224, "patch_size": 16})
    ).save_pretrained(folder)
    SiglipProcessor(SiglipImageProcessorPil(size={"height": 224, "width": 224}), tokenizer).save_pretrained(folder)
    settings = folder / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"do_lower_case": True}))


SAVE = {EMBEDDER: save_siglip2, CAPTIONER: save_florence2, VQA: save_blip}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A cache of the hub with the three models."""
    cache = tmp_path_factory.mktemp("cache")
    for name, save in SAVE.items():
        repository = cache / f"models--{CARDS[name].source.replace('/', '--')}"
        folder = repository / "snapshots" / ("c" * 40)
        folder.mkdir(parents=True)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text("c" * 40)
        save(folder)
    return cache


@pytest.fixture
def folders(saved, tmp_path, monkeypatch):
    """The folders of a copy of the cache by the name of their model."""
    cache = tmp_path / "cache"
    shutil.copytree(saved, cache)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    place = "models--{}/snapshots/" + "c" * 40
    return {name: cache / place.format(CARDS[name].source.replace("/", "--")) for name in SAVE}


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photos" / "noise.png"
    path.parent.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    return path


def test_the_default_models_index_search_answer_and_describe(run, folders, photo, tmp_path):
    db = tmp_path / "photos.db"
    indexed = run("index", photo.parent, "--db", db, "--offline")
    assert (indexed.code, indexed.err) == (0, "") and "1 added" in indexed.out
    (hit,) = run("search", "noise", "--db", db, "--offline", "--json").json["hits"]
    assert Path(hit["source"]).name == "noise.png"
    for command in (("ask", "What color is it?", "--db", db), ("describe", photo)):
        outcome = run(*command, "--offline")
        assert (outcome.code, outcome.err) == (0, "")


def test_capital_letters_change_no_vector(folders):
    embedder = load_model(loaders.EMBEDDER, EMBEDDER, ModelOptions(offline=True))
    assert np.array_equal(embedder.embed_texts(["A RED Car"]), embedder.embed_texts(["a red car"]))
    assert np.array_equal(embedder.embed_queries(["Élan"]), embedder.embed_queries(["élan"]))
    assert not np.allclose(embedder.embed_texts(["a red car"]), embedder.embed_texts(["a blue car"]))
    assert embedder.info.preprocessing == "siglip, texts of 64 tokens in lower case"


def test_a_database_from_before_is_moved_by_the_command_that_the_error_names(
    run, folders, photo, tmp_path, monkeypatch
):
    db = tmp_path / "photos.db"
    with monkeypatch.context() as before:
        before.setattr(sentence_transformers, "_preprocessing", lambda *_: "siglip, texts of 64 tokens")
        run("index", photo.parent, "--db", db, "--offline")
    search = ("search", "noise", "--db", db, "--offline")
    outcome = run(*search)
    assert outcome.code == 1 and f"florence-rag reembed --to {EMBEDDER}" in outcome.err
    assert run("reembed", "--to", EMBEDDER, "--db", db, "--offline").code == 0
    assert run(*search).code == 0


@pytest.mark.parametrize(
    ("model", "way_out"), [(EMBEDDER, "--model florence-tiny"), (CAPTIONER, "--captioner never"), (VQA, "--vqa NAME")]
)
def test_a_missing_model_is_an_error_that_says_how_to_do_without(run, folders, photo, tmp_path, model, way_out):
    db = tmp_path / "photos.db"
    index = ("index", photo.parent, "--db", db, "--offline")
    if model == VQA:
        run(*index)
    shutil.rmtree(folders[model].parents[1])
    outcome = run("ask", "What color is it?", "--db", db, "--offline") if model == VQA else run(*index)
    assert outcome.code == 1 and db.exists() == (model == VQA)  # nothing is made before all models are there
    assert CARDS[model].source in outcome.err and way_out in outcome.err
    assert sum(each in outcome.err for each in ("--model flor", "--captioner never", "--vqa NAME")) == 1


FILES = ["config.json", "model.safetensors", "processor_config.json", "tokenizer.json", "tokenizer_config.json"]
DISPENSABLE = {(VQA, "tokenizer_config.json")}  # its type of model says which tokenizer it is


@pytest.mark.parametrize(
    ("model", "file"),
    [
        *(
            (model, file) if file == "tokenizer.json" else pytest.param(model, file, marks=pytest.mark.slow)
            for model in SAVE
            for file in FILES
            if (model, file) not in DISPENSABLE
        ),
        (CAPTIONER, "generation_config.json"),
    ],
)
def test_a_missing_file_is_named_and_nothing_is_indexed(run, folders, photo, tmp_path, model, file):
    db = tmp_path / "photos.db"
    index = ("index", photo.parent, "--db", db, "--offline")
    if model == VQA:
        run(*index, "--captioner", "never")
    (folders[model] / file).unlink()
    outcome = run("ask", "What color is it?", "--db", db, "--offline") if model == VQA else run(*index)
    assert outcome.code == 1 and db.exists() == (model != EMBEDDER)
    named = {"model.safetensors": "*.safetensors", "processor_config.json": "preprocessor_config.json"}.get(file, file)
    assert named in outcome.err and "again" in outcome.err and "Traceback" not in outcome.err
