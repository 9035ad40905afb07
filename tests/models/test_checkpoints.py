"""The key map of UniCL, and the strictness of all key maps."""

import re
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from florence_rag.errors import ModelError
from florence_rag.models.arch_detection import detect
from florence_rag.models.checkpoint_files import read_weights
from florence_rag.models.checkpoints import METER, UNICL, KeyMap, Rule, load_into, load_released, map_state_dict
from florence_rag.models.florence import FlorenceModel
from florence_rag.models.meter_heads import MeterForMultipleTasks, MeterForVisualReasoning
from tests.models.fill import fill
from tests.models.reference import (
    EXPECTED,
    FILL_SEED,
    METER_SIZES,
    PARITY,
    PUBLIC,
    UNICL_LAYOUT,
    UNICL_SIZES,
    UNICL_SMALL,
    arrays,
    assert_close,
    assert_corners_close,
    full_inputs,
    meter_layout,
    needs_parity,
    outputs_of,
    read_json,
)


def unicl_model(weights: Mapping[str, Tensor]) -> FlorenceModel:
    return load_into(FlorenceModel(UNICL_SMALL), weights, UNICL)


# The released names and shapes, all of them, at the released sizes.


def meta_weights(name: str) -> dict[str, Tensor]:
    keys = read_json(PARITY / "keys" / f"{name}.keys.json")
    return {key: torch.empty(shape, device="meta") for key, shape in keys.items()}


@needs_parity
@pytest.mark.parametrize("name", UNICL_SIZES)
def test_every_key_of_the_released_unicl_files_is_mapped(name: str) -> None:
    with torch.device("meta"):
        model = FlorenceModel(UNICL_SIZES[name])
    assert map_state_dict(meta_weights(name), UNICL, model).keys() == model.state_dict().keys()


@needs_parity
@pytest.mark.parametrize("name", METER_SIZES)
def test_every_key_of_the_released_meter_files_is_mapped(name: str) -> None:
    config = METER_SIZES[name]
    with torch.device("meta"):
        model = (MeterForVisualReasoning if "nlvr2" in config.heads else MeterForMultipleTasks)(config)
    assert map_state_dict(meta_weights(name), METER, model).keys() == model.state_dict().keys()


@needs_parity
def test_the_layouts_of_the_tests_are_the_released_ones() -> None:
    shapes = {key: tuple(shape) for key, shape in read_json(PUBLIC / "unicl_small" / "keys.json").items()}
    assert shapes == UNICL_LAYOUT
    for encoder, image_size in (("clip16", 64), ("swin", 128)):
        written = meter_layout(encoder, image_size, "mlm", "itm")
        keys = read_json(PUBLIC / f"meter_{encoder}_roberta_small" / "pretrain.keys.json")
        assert {key: tuple(shape) for key, shape in keys.items()} == written


# UniCL.


def check_unicl(model: FlorenceModel, inputs: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        output = model(inputs["image"], inputs["input_ids"])
        image = model.image_encoder(inputs["image"], output_hidden_states=True)
        text = model.text_encoder(inputs["input_ids"])
    ours = {
        "image_features": output.image_embeds,
        "text_features": output.text_embeds,
        "logits_per_image": output.logits_per_image,
        "logit_scale_exp": model.logit_scale.exp(),
        "img.norm": image.last_hidden_state,
        "img.pooled": image.pooler_output,
        "txt.ln_final": text.last_hidden_state,
        "image_features_raw": model.image_projection(image.pooler_output),
        "text_features_raw": model.text_projection(text.pooler_output),
        **{f"img.stage{i}.last_block": x.flatten(2).transpose(1, 2) for i, x in enumerate(image.hidden_states)},
    }
    for name in ours.keys() & expected.keys():
        assert_close(ours[name], expected[name], name)


@needs_parity
@pytest.mark.parametrize("file", ["checkpoint.pth", "checkpoint_train_state.pth"])
def test_unicl_equals_the_original(file: str) -> None:
    model = load_released(read_weights(PUBLIC / "unicl_small" / file), UNICL_SMALL)
    inputs, expected = arrays(PUBLIC / "unicl_small" / "inputs.npz"), arrays(PUBLIC / "unicl_small" / "outputs.npz")
    check_unicl(model, inputs, expected)
    assert_close(model.get_text_features(inputs["input_ids_pad0"]), expected["text_features_pad0"], "padded with 0")


@needs_parity
def test_unicl_blocks_equal_the_original() -> None:
    model = load_released(read_weights(PUBLIC / "unicl_small" / "checkpoint.pth"), UNICL_SMALL)
    inputs, expected = arrays(PUBLIC / "unicl_small" / "inputs.npz"), arrays(PUBLIC / "unicl_small" / "outputs.npz")
    stages = {f"img.stage{i}.out": model.image_encoder.stages[i + 1].embed for i in range(3)}
    blocks = {f"txt.block{i}_LND": block for i, block in enumerate(model.text_encoder.blocks)}
    patches = {"img.patch_embed": model.image_encoder.stages[0].embed}
    with torch.no_grad(), outputs_of({**patches, **blocks, **stages}) as outputs:
        model(inputs["image"], inputs["input_ids"])
    assert_close(outputs["img.patch_embed"].flatten(1, 2), expected["img.patch_embed"], "patches")
    for name in blocks:
        assert_close(outputs[name].transpose(0, 1), expected[name], name)
    # The original merges at the end of a stage, ours at the start of the next.
    for name in stages:
        assert_close(outputs[name].flatten(1, 2), expected[name], name)


def test_unicl_with_weights_from_names_equals_the_original() -> None:
    expected = arrays(EXPECTED / "unicl_small.npz")
    check_unicl(unicl_model(fill(UNICL_LAYOUT, FILL_SEED)), expected, expected)


def test_alternative_names_of_unicl_are_mapped() -> None:
    alternatives = {"image_encoder.": "visual.", "text_encoder.": "text.", "image_projection": "vision_projection"}
    weights = fill(UNICL_LAYOUT, FILL_SEED)
    renamed = weights
    for theirs, alternative in alternatives.items():
        renamed = {key.replace(theirs, alternative): tensor for key, tensor in renamed.items()}
    assert weights.keys() != renamed.keys()
    ours, again = unicl_model(weights).state_dict(), unicl_model(renamed).state_dict()
    assert all(torch.equal(ours[name], again[name]) for name in ours)


@needs_parity
@pytest.mark.slow
@pytest.mark.parametrize("name", UNICL_SIZES)
def test_unicl_at_its_released_size(name: str) -> None:
    weights = fill(read_json(PARITY / "keys" / f"{name}.keys.json"), FILL_SEED)
    model = load_into(FlorenceModel(UNICL_SIZES[name]), weights, UNICL)
    inputs = full_inputs(name)
    with torch.no_grad():
        output = model(inputs["image"], inputs["input_ids"])
        image = model.image_encoder(inputs["image"])
    outputs = {
        "image_features": output.image_embeds,
        "text_features": output.text_embeds,
        "logits_per_image": output.logits_per_image,
        "img.pooled": image.pooler_output,
        "image_features_raw": model.image_projection(image.pooler_output).detach(),
    }
    assert_corners_close(outputs, arrays(PUBLIC / "fullsize" / f"{name}.outputs.npz"))


# Strictness.


def test_a_missing_weight_is_named() -> None:
    weights = fill(UNICL_LAYOUT, FILL_SEED)
    del weights["text_encoder.resblocks.1.ln_2.bias"]
    with pytest.raises(ModelError, match=r"missing: text_encoder\.resblocks\.1\.ln_2\.bias;"):
        unicl_model(weights)


@pytest.mark.slow
@pytest.mark.parametrize(
    "layout",
    ["unicl", "unicl with other names", "meter over clip", pytest.param("meter over swin", marks=pytest.mark.slow)],
)
def test_every_key_that_is_missing_is_named(layout: str) -> None:
    layouts = {
        "unicl": UNICL_LAYOUT,
        "unicl with other names": {
            key.replace("image_encoder.", "visual.").replace("text_encoder.", "text."): shape
            for key, shape in UNICL_LAYOUT.items()
        },
        "meter over clip": meter_layout("clip16", 64, "vqa", "itm", "mlm"),
        "meter over swin": meter_layout("swin", 128, "nlvr2", "snli", "rank"),
    }
    weights = {key: torch.empty(shape, device="meta") for key, shape in layouts[layout].items()}
    key_map = UNICL if "unicl" in layout else METER
    model = FlorenceModel if "unicl" in layout else MeterForMultipleTasks
    with torch.device("meta"):
        whole = model(detect(weights).config)
    for key in weights:
        if key_map.uses(key):
            rest = {name: tensor for name, tensor in weights.items() if name != key}
            with pytest.raises(ModelError, match=rf"missing: {re.escape(key)}(;|$)"):
                detect(rest)
                map_state_dict(rest, key_map, whole)


def test_a_layer_that_is_missing_is_named() -> None:
    weights = {key: torch.empty(shape, device="meta") for key, shape in UNICL_LAYOUT.items()}
    gap = {key: tensor for key, tensor in weights.items() if "resblocks.1." not in key}
    with pytest.raises(ModelError, match=r"missing: text_encoder\.resblocks\.1\.\*"):
        detect(gap)
    with pytest.raises(ModelError, match=r"missing: text_encoder\.resblocks\.3\.\*"):
        detect({**weights, "text_encoder.resblocks.999999999.ln_1.bias": torch.empty(64, device="meta")})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_named(value: float) -> None:
    weights = fill(UNICL_LAYOUT, FILL_SEED)
    weights["image_encoder.layers.1.blocks.0.attn.qkv.weight"][2, 3] = value
    weights["text_projection"][0, 0] = value
    named = r"finite numbers in: text_projection, image_encoder\.layers\.1\.blocks\.0\.attn\.qkv\.weight$"
    with pytest.raises(ModelError, match=named):
        unicl_model(weights)


def test_masks_that_no_network_uses_may_be_infinite() -> None:
    mask = {"image_encoder.layers.0.blocks.1.attn_mask": torch.full((64, 16, 16), float("-inf"))}
    unicl_model({**fill(UNICL_LAYOUT, FILL_SEED), **mask})


def test_whole_numbers_are_no_weights() -> None:
    weights = {key: (10 * tensor).to(torch.int8) for key, tensor in fill(UNICL_LAYOUT, FILL_SEED).items()}
    with pytest.raises(ModelError, match=r"no floating-point numbers: image_encoder\..* and \d+ more"):
        unicl_model(weights)


def test_an_unexpected_weight_is_named() -> None:
    weights = {**fill(UNICL_LAYOUT, FILL_SEED), "image_encoder.head.weight": torch.zeros(2, 128)}
    with pytest.raises(ModelError, match=r"unexpected: image_encoder\.head\.weight;"):
        unicl_model(weights)


def test_a_weight_of_another_shape_is_named() -> None:
    weights = {**fill(UNICL_LAYOUT, FILL_SEED), "text_projection": torch.zeros(64, 50)}
    with pytest.raises(ModelError, match=r"another shape: text_projection\.weight \(50, 64\) for \(48, 64\)"):
        unicl_model(weights)


def test_one_key_can_fill_several_weights() -> None:
    halves = KeyMap(rules=(Rule("both", "first", lambda x: x[:1]), Rule("both", "second", lambda x: x[1:])), unused=())
    renamed, unknown = halves.rename({"both": torch.tensor([1.0, 2.0]), "other": torch.zeros(1)})
    assert {name: tensor.tolist() for name, tensor in renamed.items()} == {"first": [1.0], "second": [2.0]}
    assert unknown == ["other"]
