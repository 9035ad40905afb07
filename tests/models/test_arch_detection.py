"""Configurations detected from the names and shapes of weights."""

import pytest
import torch

from florence_rag.errors import ModelError
from florence_rag.models.arch_detection import detect, family_of
from florence_rag.models.florence import FlorenceConfig
from florence_rag.models.hyper_parameters import parse_settings
from florence_rag.models.meter import MeterConfig
from tests.models.reference import (
    METER_SIZES,
    PARITY,
    UNICL_LAYOUT,
    UNICL_SIZES,
    UNICL_SMALL,
    meter_layout,
    needs_parity,
    read_json,
)


def empty(layout):
    return {key: torch.empty(shape, device="meta") for key, shape in layout.items()}


@needs_parity
@pytest.mark.parametrize("name", [*UNICL_SIZES, *METER_SIZES])
def test_every_released_checkpoint_is_recognized(name):
    config = detect(empty(read_json(PARITY / "keys" / f"{name}.keys.json"))).config
    known = {**UNICL_SIZES, **METER_SIZES}[name]
    wanted = type(known)(**known.to_dict())
    wanted.heads = sorted(wanted.heads) if hasattr(wanted, "heads") else None
    config.heads = sorted(config.heads) if hasattr(config, "heads") else None
    if "irtr" in name:
        assert config.max_text_length == 40
        wanted.max_text_length = 40
    assert config.to_dict() == wanted.to_dict()


def test_a_dual_encoder_of_any_size_and_with_alternative_names():
    config = detect(empty(UNICL_LAYOUT)).config
    assert config.image_config.to_dict() == UNICL_SMALL.image_config.to_dict()
    assert config.text_config.num_attention_heads == 1, "shapes do not determine it"
    alternatives = {
        key.replace("image_encoder.", "visual.").replace("text_encoder.", "text."): shape
        for key, shape in UNICL_LAYOUT.items()
    }
    assert detect(empty(alternatives)).config.to_dict() == config.to_dict()


@pytest.mark.parametrize(("encoder", "size"), [("clip16", 64), ("clip16", 96), ("swin", 192)])
def test_meter_of_any_size_with_its_heads(encoder, size):
    config = detect(empty(meter_layout(encoder, size, "vqa", "itm"))).config
    assert (config.image_config.image_size, config.heads, config.num_answers) == (size, ["vqa", "itm"], 61)
    assert config.image_pooling == ("first" if encoder == "clip16" else "mean")


METER = meter_layout("clip16", 64, "vqa")
RECORDED = {
    **{"num_heads": 4, "num_top_layer": 2, "num_layers": 6, "max_text_len": 20, "image_size": 64, "hidden_size": 96},
    **{"mlp_ratio": 2, "vocab_size": 600, "vqav2_label_size": 61, "drop_rate": 0.2, "tokenizer": "roberta-base"},
}


def meter_settings(**changes):
    return parse_settings({**RECORDED, **changes}, MeterConfig, "the checkpoint")


def test_the_settings_of_a_checkpoint_are_used_and_the_others_are_guessed():
    bare = detect(empty(METER))
    assert bare.guessed == {"text_config.num_attention_heads": 1, "num_heads": 1, "max_text_length": 30}
    full = detect(empty(METER), meter_settings())
    assert (full.config.num_heads, full.config.max_text_length, full.config.dropout) == (4, 20, 0.2)
    assert full.guessed == {"text_config.num_attention_heads": 1}


@needs_parity
@pytest.mark.parametrize("name", METER_SIZES)
def test_the_settings_of_the_released_meters_fit_their_weights(name):
    weights = empty(read_json(PARITY / "keys" / f"{name}.keys.json"))
    recorded = parse_settings(read_json(PARITY / "keys" / f"{name}.config.json"), MeterConfig, "the checkpoint")
    assert detect(weights, recorded).guessed == {"text_config.num_attention_heads": 12}


def test_the_settings_of_the_user_take_precedence():
    chosen = parse_settings(
        {"num_heads": 2, "text_config.num_attention_heads": 4, "image_size": 96}, MeterConfig, "the configuration"
    )
    found = detect(empty(METER), meter_settings(), chosen)
    config = found.config
    assert (config.num_heads, config.text_config.num_attention_heads, config.max_text_length) == (2, 4, 20)
    assert config.image_config.image_size == 96 and found.guessed == {}


def test_the_windows_of_meters_swin_follow_the_image():
    chosen = parse_settings({"image_size": 192}, MeterConfig, "the configuration")
    image = detect(empty(meter_layout("swin", 128, "vqa")), None, chosen).config.image_config
    assert (image.image_size, image.window_size) == (192, 6)


def test_the_configuration_of_unicl_is_used():
    given = {
        **{"MODEL.TEXT_ENCODER.HEADS": 4, "MODEL.TEXT_ENCODER.CONTEXT_LENGTH": 77, "DATA.IMG_SIZE": 128},
        **{"MODEL.IMAGE_ENCODER.SWIN.DEPTHS": [2, 2, 3, 2], "MODEL.DIM_PROJECTION": 48, "TRAIN.EPOCHS": 32},
    }
    found = detect(empty(UNICL_LAYOUT), parse_settings(given, FlorenceConfig, "the checkpoint"))
    assert found.guessed == {} and found.config.to_dict() == UNICL_SMALL.to_dict()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 96}, r"image_config\.image_size = 96, but the weights have 64; .*convert --config"),
        ({"vqav2_label_size": 3129}, "num_answers = 3129, but the weights have 61"),
        ({"vocab_size": 50265}, r"text_config\.vocab_size = 50265, but the weights have 600"),
        ({"hidden_size": 768}, "hidden_size = 768, but the weights have 96"),
        ({"num_top_layer": 6}, "num_layers = 6, but the weights have 2"),
        ({"mlp_ratio": 4}, "intermediate_size = 384, but the weights have 192"),
        ({"num_heads": 5}, "hidden_size 96 is not a multiple of 5, num_heads"),
        ({"num_heads": "four"}, "num_heads = 'four'; it must be a positive whole number"),
        ({"num_heads": 0}, "num_heads = 0; it must be a positive whole number"),
        ({"max_text_len": 500}, "the checkpoint: max_text_length 500 exceeds the 30 positions"),
        ({"drop_rate": "x"}, "the settings of the checkpoint do not make a network: .*dropout"),
    ],
)
def test_settings_that_contradict_the_weights_are_refused(changes, message):
    with pytest.raises(ModelError, match=message):
        detect(empty(METER), meter_settings(**changes))


def test_the_user_can_correct_the_settings_of_a_checkpoint():
    chosen = parse_settings({"image_size": 96, "num_answers": 61}, MeterConfig, "the configuration")
    wrong = meter_settings(image_size=96, vqav2_label_size=3129)
    assert detect(empty(METER), wrong, chosen).config.image_config.image_size == 96
    with pytest.raises(ModelError, match="the configuration says num_answers = 5, but the weights have 61"):
        detect(empty(METER), None, parse_settings({"num_answers": 5}, MeterConfig, "the configuration"))


@pytest.mark.parametrize(("layout", "size", "unit"), [(METER, 100, 16), (UNICL_LAYOUT, 144, 32)])
def test_images_that_do_not_divide_into_tokens_are_refused(layout, size, unit):
    family = family_of(empty(layout))
    with pytest.raises(ModelError, match=rf"image_size {size} is not a multiple of {unit}"):
        detect(empty(layout), None, parse_settings({"image_size": size}, family, "the configuration"))


def test_a_meter_over_bert_is_refused():
    bert = {**METER, "text_transformer.embeddings.token_type_embeddings.weight": (2, 64)}
    with pytest.raises(ModelError, match="as BERT; only RoBERTa is supported"):
        detect(empty(bert))


def test_a_tensor_of_other_dimensions_is_named():
    with pytest.raises(ModelError, match=r"of another shape: text_projection \(\)"):
        detect(empty({**UNICL_LAYOUT, "text_projection": ()}))


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (("visual.class_embedding", "token_embedding.weight", "text_projection"), "OpenAI's CLIP"),
        (("text_model.final_layer_norm.bias", "vision_model.x"), "a CLIP or SigLIP of transformers"),
        (("patch_embed.proj.weight", "layers.0.blocks.0.norm1.bias"), "a Swin without a text encoder"),
        (("roberta.encoder.layer.0.x", "lm_head.bias"), "a text encoder such as BERT"),
        (("backbone.dyhead_tower.0.offset.bias",), "a Dynamic Head detector"),
        (("model.layers.0.self_attn.q_proj.weight",), "a language model"),
        (("image_encoder.stages.0.x", "text_encoder.blocks.0.y"), "a network that florence-rag saved: name its folder"),
    ],
)
def test_weights_of_other_networks_are_recognized(names, kind):
    with pytest.raises(ModelError, match=f"neither UniCL's nor METER's: .*; they look like {kind}"):
        detect(empty(dict.fromkeys(names, (1,))))


def test_unknown_weights_are_refused_with_some_of_their_names():
    with pytest.raises(ModelError, match=r"neither UniCL's nor METER's: a\.weight, b\.weight"):
        detect({"b.weight": torch.zeros(1), "a.weight": torch.zeros(1)})
