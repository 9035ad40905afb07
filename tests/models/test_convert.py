"""Conversion of released checkpoints into folders, and parity of their outputs with the original code."""

import gzip
import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import AutoModel, AutoModelForVisualQuestionAnswering, AutoProcessor, CLIPTokenizer, RobertaTokenizer

from florence_rag.embedding.florence import FlorenceEmbedder
from florence_rag.errors import ModelError
from florence_rag.models import convert as conversion
from florence_rag.models.convert import CLIP_TOKENIZER, convert, converted_folder
from florence_rag.models.florence import FlorenceModel
from florence_rag.models.meter import MeterModel
from florence_rag.models.meter_heads import MeterForMultipleTasks
from florence_rag.models.processing import normalize_text
from florence_rag.models.registry import find_model
from florence_rag.models.strict_loading import open_strictly
from tests.models.fill import fill
from tests.models.reference import (
    EXPECTED,
    FILL_SEED,
    PARITY,
    PUBLIC,
    UNICL_LAYOUT,
    UNICL_SMALL,
    arrays,
    assert_close,
    meter_layout,
    meter_small,
    needs_parity,
    read_json,
)
from tests.models.words import save_clip_words, save_roberta_words


@pytest.fixture
def clip_words(tmp_path):
    return save_clip_words(tmp_path / "clip")


@pytest.fixture
def roberta_words(tmp_path):
    return save_roberta_words(tmp_path / "roberta")


def test_a_converted_dual_encoder_equals_the_original(tmp_path, clip_words):
    save_file(fill(UNICL_LAYOUT, FILL_SEED), tmp_path / "released.safetensors")
    convert(tmp_path / "released.safetensors", tmp_path / "out", tokenizer=clip_words, config=UNICL_SMALL)
    expected = arrays(EXPECTED / "unicl_small.npz")
    model = AutoModel.from_pretrained(tmp_path / "out")
    assert type(model) is FlorenceModel
    with torch.no_grad():
        output = model(expected["image"], expected["input_ids"])
    assert_close(output.logits_per_image, expected["logits_per_image"], "logits")
    processor = AutoProcessor.from_pretrained(tmp_path / "out")
    assert processor.normalizes_text and processor.image_processor.enlarge == 256 / 224
    assert processor(text="it&#39;s")["input_ids"].tolist() == processor(text="it's")["input_ids"].tolist()
    assert processor(text="a " * 200)["input_ids"].shape == (1, 77)
    embedder = FlorenceEmbedder.from_pretrained(tmp_path / "out", "small", device="cpu")
    frame = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    assert embedder.embed_images([frame]).shape == embedder.embed_texts(["a dog"]).shape == (1, 48)


@pytest.mark.parametrize(("encoder", "image_size"), [("clip16", 64), ("swin", 128)])
def test_a_converted_meter_has_its_answers_and_its_preprocessing(tmp_path, roberta_words, encoder, image_size):
    weights = fill(meter_layout(encoder, image_size, "vqa"), FILL_SEED)
    save_file(weights, tmp_path / "released.safetensors")
    answers = [f"answer {i}" for i in range(61)]
    config = meter_small(encoder, image_size, "vqa")
    convert(
        tmp_path / "released.safetensors", tmp_path / "out", tokenizer=roberta_words, config=config, answers=answers
    )
    model = MeterForMultipleTasks.from_pretrained(tmp_path / "out")
    assert model.config.answers == answers
    processor = AutoProcessor.from_pretrained(tmp_path / "out")
    assert processor.image_processor.scale_alpha == (encoder == "clip16")
    assert processor.tokenizer.model_max_length == 20
    frame = np.zeros((40, 60, 3), dtype=np.uint8)
    inputs = processor(images=frame, text="what?")
    assert inputs["input_ids"].tolist() == [[0, *processor.tokenizer.convert_tokens_to_ids(list("what?")), 2]]
    assert model(**inputs).logits["vqa"].shape == (1, 61)
    assert type(AutoModel.from_pretrained(tmp_path / "out")) is MeterModel
    assert AutoModelForVisualQuestionAnswering.from_pretrained(tmp_path / "out").config.answers == answers


def test_too_few_answers_are_refused(tmp_path, roberta_words):
    save_file(fill(meter_layout("clip16", 64, "vqa"), FILL_SEED), tmp_path / "released.safetensors")
    with pytest.raises(ModelError, match="you passed 2 answers, but the checkpoint has 61 outputs"):
        convert(tmp_path / "released.safetensors", tmp_path / "out", tokenizer=roberta_words, answers=["yes", "no"])


def test_a_missing_tokenizer_is_an_error_that_names_its_source(tmp_path):
    save_file(fill(UNICL_LAYOUT, FILL_SEED), tmp_path / "released.safetensors")
    with pytest.raises(ModelError, match=r"lacks vocab\.json and merges\.txt .*openai/clip-vit-base-patch32"):
        convert(tmp_path / "released.safetensors", tmp_path / "out", tokenizer=tmp_path)


# Checkpoints of cards: converted once, completely or not at all, and never one family for the other.


class LocalFetcher:
    """Has the tokenizers, and records their names; downloads nothing."""

    def __init__(self, folder):
        self.folder = folder
        self.requested = []

    def repository(self, name, **_):
        self.requested.append(name)
        return self.folder / ("clip" if name == CLIP_TOKENIZER else "roberta")


@pytest.fixture
def fetcher(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    save_clip_words(tmp_path / "clip")
    save_roberta_words(tmp_path / "roberta")
    return LocalFetcher(tmp_path)


@pytest.fixture
def dual_encoder(tmp_path):
    save_file(fill(UNICL_LAYOUT, FILL_SEED), tmp_path / "dual_encoder.safetensors")
    return tmp_path / "dual_encoder.safetensors"


@pytest.fixture
def meter(tmp_path):
    save_file(fill(meter_layout("clip16", 64, "vqa"), FILL_SEED), tmp_path / "meter.safetensors")
    return tmp_path / "meter.safetensors"


def test_a_checkpoint_is_converted_once_and_again_when_it_changes(fetcher, dual_encoder):
    folder = converted_folder(find_model(str(dual_encoder)), fetcher)
    assert open_strictly(FlorenceModel, folder, device="cpu").config.projection_dim == 48
    assert converted_folder(find_model(str(dual_encoder)), fetcher) == folder
    assert fetcher.requested == [CLIP_TOKENIZER]
    save_file(fill(UNICL_LAYOUT, FILL_SEED + 1), dual_encoder)
    assert converted_folder(find_model(str(dual_encoder)), fetcher) != folder


@pytest.mark.parametrize(
    ("file", "role", "holds"),
    [
        ("meter", "embed", r"a METER, which answers and matches \(cross_modal_image_layers\.0\."),
        ("dual_encoder", "answer", r"a dual encoder, which embeds \(image_encoder\."),
    ],
)
def test_a_checkpoint_of_the_other_family_is_refused_with_its_keys(fetcher, dual_encoder, meter, file, role, holds):
    checkpoint = {"dual_encoder": dual_encoder, "meter": meter}[file]
    with pytest.raises(ModelError, match=rf"does not fit the role of '.*{file}.safetensors': it holds {holds}"):
        converted_folder(find_model(str(checkpoint), role), fetcher)
    assert fetcher.requested == []


def test_weights_of_another_kind_are_refused_with_their_keys(fetcher, tmp_path):
    save_file({"encoder.layer.0.weight": torch.ones(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match=r"neither UniCL's nor METER's: encoder\.layer\.0\.weight"):
        converted_folder(find_model(str(tmp_path / "other.safetensors")), fetcher)


def test_a_checkpoint_without_some_of_its_weights_is_refused_with_their_names(fetcher, tmp_path):
    weights = fill(UNICL_LAYOUT, FILL_SEED)
    del weights["logit_scale"]
    save_file({**weights, "image_encoder.extra": torch.ones(1)}, tmp_path / "gap.safetensors")
    with pytest.raises(ModelError, match=r"missing: .*logit_scale.*; unexpected: image_encoder\.extra"):
        converted_folder(find_model(str(tmp_path / "gap.safetensors")), fetcher)


def test_an_interrupted_conversion_leaves_no_folder(fetcher, dual_encoder, monkeypatch):
    def interrupted(checkpoint, folder, **_):
        folder.mkdir()
        (folder / "config.json").write_text("{")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(conversion, "convert", interrupted)
        with pytest.raises(KeyboardInterrupt):
            converted_folder(find_model(str(dual_encoder)), fetcher)
    assert (converted_folder(find_model(str(dual_encoder)), fetcher) / "model.safetensors").is_file()


# Against the original code, from its file and its images to its outputs.


@needs_parity
def test_unicl_from_the_released_file_and_images_to_features(tmp_path):
    home = PUBLIC / "unicl_small"
    convert(home / "checkpoint.pth", tmp_path / "out", tokenizer=home / "tokenizer", config=UNICL_SMALL)
    model, processor = FlorenceModel.from_pretrained(tmp_path / "out"), AutoProcessor.from_pretrained(tmp_path / "out")
    expected = arrays(home / "preprocess_expected.npz")
    for name, pixels in expected.items():
        with Image.open(home / f"{name}.png") as image:
            ours = processor(images=image)["pixel_values"]
        assert_close(ours[0], pixels, name)
    inputs, outputs = arrays(home / "inputs.npz"), arrays(home / "outputs.npz")
    with torch.no_grad():
        assert_close(model(inputs["image"], inputs["input_ids"]).logits_per_image, outputs["logits_per_image"])


@needs_parity
@pytest.mark.parametrize(("encoder", "image_size"), [("clip16", 96), ("swin", 192)])
def test_meter_from_the_released_file_to_answers(tmp_path, encoder, image_size):
    home = PUBLIC / f"meter_{encoder}_roberta_small"
    words = PUBLIC / "meter_clip16_roberta_small" / "tokenizer"
    convert(home / "vqa.ckpt", tmp_path / "out", tokenizer=words, config=meter_small(encoder, image_size, "vqa"))
    model = MeterForMultipleTasks.from_pretrained(tmp_path / "out")
    inputs, outputs = arrays(home / "vqa.inputs.npz"), arrays(home / "vqa.outputs.npz")
    with torch.no_grad():
        logits = model(inputs["text_ids"], attention_mask=inputs["text_masks"], pixel_values=inputs["image"]).logits[
            "vqa"
        ]
    assert_close(logits, outputs["vqa_logits"])


@pytest.fixture(scope="module")
def clip_vocabulary(tmp_path_factory):
    """CLIP's words and merges from the file of its repository: bytes, bytes that end a word, merges, two marks."""
    folder = tmp_path_factory.mktemp("clip")
    lines = gzip.decompress((PARITY / "assets" / "clip_bpe_simple_vocab_16e6.txt.gz").read_bytes()).decode().split("\n")
    merges = lines[1 : 49152 - 256 - 2 + 1]
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(byte) for byte in printable]
    letters += [chr(256 + i) for i in range(256 - len(printable))]
    words = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(merge.split()) for merge in merges)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]))
    return folder


@needs_parity
def test_texts_are_tokenized_as_in_clip(clip_vocabulary):
    tokenizer = CLIPTokenizer.from_pretrained(clip_vocabulary, model_max_length=77)
    expected = read_json(PUBLIC / "tokenizers" / "expected.json")
    for text, ids in zip(expected["texts"], expected["clip"], strict=True):
        assert tokenizer(normalize_text(text), truncation=True)["input_ids"] == ids["openai_and_unpadded"], text


@needs_parity
def test_texts_are_tokenized_as_in_meter():
    tokenizer = RobertaTokenizer.from_pretrained(PARITY / "assets" / "roberta_base_tokenizer", model_max_length=50)
    expected = read_json(PUBLIC / "tokenizers" / "expected.json")
    for text, ids in zip(expected["texts"], expected["roberta"], strict=True):
        assert tokenizer(text, truncation=True)["input_ids"] == ids["slow_max50"], text
