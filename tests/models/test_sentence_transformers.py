import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import CrossEncoder, SentenceTransformer

from florence_rag.errors import InputError, ModelError
from florence_rag.models.sentence_transformers import (
    accelerate_images,
    has_image_encoder,
    has_language_head,
    is_cross_encoder,
    is_vision_language_model,
    model_folder,
    open_model,
    weights_fingerprint,
)
from tests.models.tiny_sentence_transformers import (
    SIDE_PX,
    save_bert,
    save_clip,
    save_seeing_cross_encoder,
    save_siglip,
    save_text_cross_encoder,
)


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    return save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def bert_folder(tmp_path_factory):
    return save_bert(tmp_path_factory.mktemp("bert"))


def open_embedder(folder, precision=None, **options):
    return open_model(SentenceTransformer, model_folder(folder), device="cpu", precision=precision, **options)


def write_architecture(folder, name):
    (folder / "config.json").write_text(json.dumps({"architectures": [name]}))
    return folder


def test_a_missing_folder_is_named():
    with pytest.raises(ModelError, match=r"there is no folder '/nowhere/model'; give one, or load 'owner/name'"):
        model_folder("/nowhere/model")


def test_a_model_opens_in_evaluation_mode_and_in_fp32(bert_folder):
    model = open_embedder(str(bert_folder))
    assert not model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_a_precision_is_that_of_all_weights(bert_folder):
    model = open_embedder(bert_folder, precision="bf16")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def test_an_unknown_precision_is_refused_with_the_known_ones(bert_folder):
    with pytest.raises(InputError, match="precision 'int8' is not known here; use fp32 or bf16"):
        open_embedder(bert_folder, precision="int8")


def test_weights_that_may_be_pickles_are_not_opened(tmp_path):
    folder = save_clip(tmp_path)
    for file in folder.rglob("*.safetensors"):
        file.rename(file.with_name("pytorch_model.bin"))
    with pytest.raises(ModelError, match=r"has no \*.safetensors next to .* pickles, which are not opened: convert"):
        open_embedder(folder)


def test_a_truncated_file_is_an_error_of_one_line(tmp_path):
    folder = save_clip(tmp_path)
    weights = next(folder.rglob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot be opened as a SentenceTransformer: ") as raised:
        open_embedder(folder)
    assert "\n" not in str(raised.value)


def test_code_of_the_model_is_never_run(tmp_path):
    folder = save_clip(tmp_path)
    (folder / "modeling.py").write_text("raise SystemExit('it ran')")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "modeling.A", "AutoModel": "modeling.B"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="cannot be opened"):
        open_embedder(folder)


def test_only_clip_and_siglip_have_an_image_encoder(clip_folder, bert_folder, tmp_path):
    assert has_image_encoder(clip_folder) and has_image_encoder(save_siglip(tmp_path))
    assert not has_image_encoder(bert_folder)


@pytest.mark.parametrize("save", [save_text_cross_encoder, save_seeing_cross_encoder])
def test_a_model_that_scores_pairs_is_a_cross_encoder(save, tmp_path):
    assert is_cross_encoder(save(tmp_path))


def test_an_embedder_is_no_cross_encoder(clip_folder, bert_folder):
    assert not is_cross_encoder(clip_folder) and not is_cross_encoder(bert_folder)


def test_the_architecture_shows_what_a_model_generates(tmp_path):
    write_architecture(tmp_path, "Qwen3ForCausalLM")
    assert has_language_head(tmp_path) and not is_vision_language_model(tmp_path)
    write_architecture(tmp_path, "Qwen3VLForConditionalGeneration")
    assert is_vision_language_model(tmp_path) and not has_language_head(tmp_path)


def test_a_vision_language_model_that_is_prepared_for_the_library_generates_no_text(tmp_path):
    write_architecture(tmp_path, "Qwen3VLForConditionalGeneration")
    (tmp_path / "config_sentence_transformers.json").write_text("{}")
    assert not is_vision_language_model(tmp_path)


def test_a_config_without_an_architecture_is_none_of_them(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    for is_such_a_model in (is_cross_encoder, has_language_head, is_vision_language_model, has_image_encoder):
        assert not is_such_a_model(tmp_path)


def test_the_fingerprint_depends_on_the_weights_of_every_part_and_not_on_the_path(clip_folder, tmp_path):
    copy, two_parts = tmp_path / "copy", tmp_path / "two"
    shutil.copytree(clip_folder, copy)
    shutil.copytree(clip_folder, two_parts / "a")
    shutil.copytree(clip_folder, two_parts / "b")
    prints = [weights_fingerprint(folder) for folder in (clip_folder, copy, two_parts)]
    assert prints[0] == prints[1] != prints[2]
    assert all(len(bytes.fromhex(each)) == 8 for each in prints)


def test_an_accelerated_image_encoder_gives_nearly_the_same_features(clip_folder):
    plain, fast = open_embedder(clip_folder), open_embedder(clip_folder)
    accelerate_images(fast, backend="torch", precision="bf16")
    pixels = torch.randn(2, 3, SIDE_PX, SIDE_PX, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features = [model[0].model.get_image_features(pixel_values=pixels).pooler_output for model in (plain, fast)]
    assert not torch.equal(*features)
    assert torch.cosine_similarity(*features).min() > 0.99


def change_weights(folder, change):
    (path,) = folder.rglob("model.safetensors")
    weights = change(load_file(path))
    save_file(weights, path, {"format": "pt"})
    return folder


def without(part):
    return lambda weights: {name: each for name, each in weights.items() if part not in name}


SAVED = {
    "bert": (save_bert, SentenceTransformer, "encoder.layer.0.attention.self.query.weight"),
    "clip": (save_clip, SentenceTransformer, "vision_model.encoder.layers.0.mlp.fc1.weight"),
    "projection": (save_clip, SentenceTransformer, "text_projection"),
    "siglip": (save_siglip, SentenceTransformer, "text_model.head.weight"),
    "cross-encoder": (save_text_cross_encoder, CrossEncoder, "classifier"),
    "cross-encoder pooler": (save_text_cross_encoder, CrossEncoder, "pooler"),
}


@pytest.mark.parametrize("case", SAVED)
def test_missing_weights_are_not_replaced_by_random_numbers(tmp_path, case):
    save, kind, part = SAVED[case]
    folder = change_weights(save(tmp_path), without(part))
    with pytest.raises(ModelError, match=rf"do not fit, \d+ missing keys: .*{part}"):
        open_model(kind, folder, device="cpu", precision=None)


def test_names_that_do_not_fit_are_missing_weights(tmp_path):
    folder = change_weights(save_bert(tmp_path), lambda weights: {f"x.{name}": each for name, each in weights.items()})
    with pytest.raises(ModelError, match="missing keys"):
        open_embedder(folder)


def test_weights_that_are_not_used_are_named(tmp_path, caplog):
    folder = change_weights(save_bert(tmp_path), lambda weights: {**weights, "cls.extra": torch.zeros(2)})
    open_embedder(folder)
    assert "does not use 1 weights of its file: cls.extra" in caplog.text


def test_a_layer_that_an_embedder_of_texts_does_not_use_may_be_missing(tmp_path):
    folder = save_bert(tmp_path)
    vector = open_embedder(folder).encode("a")
    assert (open_embedder(change_weights(folder, without("pooler"))).encode("a") == vector).all()
