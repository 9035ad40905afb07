"""Conversion of released checkpoints into folders, and parity of their outputs with the original code."""

import errno
import gzip
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import save_file
from transformers import AutoModel, AutoModelForVisualQuestionAnswering, AutoProcessor, CLIPTokenizer, RobertaTokenizer

from florence_rag.embedding.florence import FlorenceEmbedder
from florence_rag.errors import ModelError
from florence_rag.models import convert as conversion
from florence_rag.models.convert import CLIP_TOKENIZER, convert, converted_folder
from florence_rag.models.florence import FlorenceModel
from florence_rag.models.meter import MeterModel
from florence_rag.models.meter_heads import MeterForMultipleTasks
from florence_rag.models.processing import IMAGENET_MEAN
from florence_rag.models.registry import find_model
from florence_rag.models.strict_loading import open_strictly
from florence_rag.models.text_normalization import normalize_text
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


@pytest.fixture
def dual_encoder(tmp_path):
    save_file(fill(UNICL_LAYOUT, FILL_SEED), tmp_path / "dual_encoder.safetensors")
    return tmp_path / "dual_encoder.safetensors"


@pytest.fixture
def meter(tmp_path):
    save_file(fill(meter_layout("clip16", 64, "vqa"), FILL_SEED), tmp_path / "meter.safetensors")
    return tmp_path / "meter.safetensors"


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


@pytest.mark.parametrize("answers", [["yes"], None])
def test_answers_for_a_network_that_gives_none_are_refused(tmp_path, clip_words, dual_encoder, answers):
    if answers:
        with pytest.raises(ModelError, match="you passed answers, but the checkpoint has no head that answers"):
            convert(dual_encoder, tmp_path / "out", tokenizer=clip_words, answers=answers)
    else:
        assert convert(dual_encoder, tmp_path / "out", tokenizer=clip_words).config.projection_dim == 48


def test_answers_that_repeat_are_refused(tmp_path, roberta_words, meter):
    with pytest.raises(ModelError, match="the answers repeat 'yes'"):
        convert(meter, tmp_path / "out", tokenizer=roberta_words, answers=["yes"] * 61)


def test_the_tokenizer_of_another_network_is_refused(tmp_path, clip_words, roberta_words, dual_encoder, meter):
    with pytest.raises(ModelError, match=r"number of words: 602, of the checkpoint: 1024; take it from .*openai/clip"):
        convert(dual_encoder, tmp_path / "out", tokenizer=roberta_words)
    with pytest.raises(ModelError, match=r"number of words: 1029, of the checkpoint: 600; take it from .*roberta"):
        convert(meter, tmp_path / "out", tokenizer=clip_words)
    assert not (tmp_path / "out").exists()


def test_the_end_token_must_be_that_of_the_network(tmp_path, clip_words, dual_encoder):
    words = json.loads((clip_words / "vocab.json").read_text())
    words["<|endoftext|>"], words["<|startoftext|>"] = words["<|startoftext|>"], words["<|endoftext|>"]
    (clip_words / "vocab.json").write_text(json.dumps(words))
    with pytest.raises(ModelError, match=r"bos_token_id: 1023, of the checkpoint: 1022"):
        convert(dual_encoder, tmp_path / "out", tokenizer=clip_words)


def test_a_damaged_tokenizer_is_refused_in_one_line(tmp_path, clip_words, dual_encoder):
    (clip_words / "vocab.json").write_text("{")
    with pytest.raises(ModelError, match=r"holds no readable tokenizer: .*; take it from https://") as caught:
        convert(dual_encoder, tmp_path / "out", tokenizer=clip_words)
    assert "\n" not in str(caught.value)


def test_the_settings_in_a_checkpoint_and_in_a_file_reach_the_folder(tmp_path, roberta_words):
    recorded = {"num_heads": 4, "max_text_len": 20, "image_size": 64, "val_transform_keys": ["imagenet"]}
    weights = fill(meter_layout("clip16", 64, "vqa"), FILL_SEED)
    torch.save({"state_dict": weights, "hyper_parameters": {"config": recorded}}, tmp_path / "vqa.ckpt")
    (tmp_path / "config.toml").write_text("image_size = 96\n[text_config]\nnum_attention_heads = 4\n")
    options = {"tokenizer": roberta_words, "config": tmp_path / "config.toml"}
    result = convert(tmp_path / "vqa.ckpt", tmp_path / "out", **options)
    assert result.guessed == {}
    config = MeterForMultipleTasks.from_pretrained(tmp_path / "out").config
    assert (config.num_heads, config.text_config.num_attention_heads, config.max_text_length) == (4, 4, 20)
    images = AutoProcessor.from_pretrained(tmp_path / "out").image_processor
    assert (config.image_config.image_size, images.size, tuple(images.image_mean)) == (96, 96, IMAGENET_MEAN)


def test_an_unknown_activation_is_refused(tmp_path, roberta_words, meter):
    (tmp_path / "config.json").write_text('{"text_config": {"hidden_act": "nope"}}')
    with pytest.raises(ModelError, match="do not make a network: KeyError: 'nope'"):
        convert(meter, tmp_path / "out", tokenizer=roberta_words, config=tmp_path / "config.json")


def test_an_existing_folder_is_not_overwritten(tmp_path, clip_words, dual_encoder):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("kept")
    for target in (tmp_path / "full", tmp_path / "full" / "mine.txt"):
        with pytest.raises(ModelError, match="exists; name a new one, or delete it first"):
            convert(dual_encoder, target, tokenizer=clip_words)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]
    (tmp_path / "empty").mkdir()
    convert(dual_encoder, tmp_path / "empty", tokenizer=clip_words)
    assert (tmp_path / "empty" / "model.safetensors").is_file()


def test_a_full_disk_is_found_before_anything_is_written(tmp_path, clip_words, dual_encoder, monkeypatch):
    monkeypatch.setattr(conversion.shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000))
    with pytest.raises(ModelError, match=r"the model, 3 MB, cannot be written to '.*out': 1 MB are free"):
        convert(dual_encoder, tmp_path / "out", tokenizer=clip_words)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), SafetensorError("No space left")])
def test_a_disk_that_fills_up_leaves_no_part_of_a_folder(tmp_path, clip_words, dual_encoder, monkeypatch, error):
    def save(model, folder):
        folder.mkdir()
        (folder / "config.json").write_text("{")
        raise error

    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr(FlorenceModel, "save_pretrained", save)
    with pytest.raises(ModelError, match=r"cannot be written to '.*out': No space left"):
        convert(dual_encoder, tmp_path / "out", tokenizer=clip_words)
    assert sorted(tmp_path.iterdir()) == before


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


@pytest.mark.slow
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


@pytest.mark.parametrize("name", ["florence-2:{}", "transformers:{}"])
def test_a_checkpoint_of_a_family_that_is_not_converted_is_refused(fetcher, meter, name):
    with pytest.raises(ModelError, match=r"does not fit the role of '.*': it holds a METER"):
        converted_folder(find_model(name.format(meter), "answer"), fetcher)


def test_guesses_about_a_checkpoint_that_is_opened_by_its_name_are_logged(fetcher, meter, caplog):
    converted_folder(find_model(str(meter), "answer"), fetcher)
    assert "meter.safetensors: guessed text_config.num_attention_heads = 1, num_heads = 1" in caplog.text


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
def test_unicl_from_the_state_of_its_training(tmp_path):
    home = PUBLIC / "unicl_small"
    result = convert(home / "checkpoint_train_state.pth", tmp_path / "out", tokenizer=home / "tokenizer")
    assert result.guessed == {}
    model = FlorenceModel.from_pretrained(tmp_path / "out")
    inputs, outputs = arrays(home / "inputs.npz"), arrays(home / "outputs.npz")
    with torch.no_grad():
        assert_close(model(inputs["image"], inputs["input_ids"]).logits_per_image, outputs["logits_per_image"])


@needs_parity
@pytest.mark.parametrize("encoder", ["clip16", "swin"])
def test_meter_from_the_released_file_to_answers(tmp_path, encoder):
    """The file records all but the heads of its text encoder."""
    home = PUBLIC / f"meter_{encoder}_roberta_small"
    words = PUBLIC / "meter_clip16_roberta_small" / "tokenizer"
    (tmp_path / "config.json").write_text('{"text_config": {"num_attention_heads": 4}}')
    result = convert(home / "vqa.ckpt", tmp_path / "out", tokenizer=words, config=tmp_path / "config.json")
    assert result.guessed == {}
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
