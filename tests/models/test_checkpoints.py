"""The key maps against the original code: its files, its features, its outputs."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from florence_rag.errors import ModelError
from florence_rag.models.checkpoints import METER, UNICL, KeyMap, Rule, fit, load_meter, load_unicl
from florence_rag.models.florence import FlorenceModel
from florence_rag.models.meter_heads import MeterForMultipleTasks, MeterForVisualReasoning
from tests.models.fill import fill
from tests.models.layouts import (
    Layout,
    below,
    clip_leftovers,
    clip_text,
    clip_vision,
    fusion,
    heads,
    roberta,
    swin,
    unicl,
)
from tests.models.reference import (
    EXPECTED,
    FILL_SEED,
    METER_SIZES,
    PARITY,
    PUBLIC,
    UNICL_SIZES,
    UNICL_SMALL,
    arrays,
    assert_close,
    meter_small,
    needs_parity,
    outputs_of,
    read_json,
)

UNICL_LAYOUT = unicl(swin(128, 16, (2, 2, 3, 2), (1, 2, 4, 8), 4), clip_text(1024, 77, 64, 3), 128, 64, 48)


def meter_layout(tower: str, image_size: int, *names: str) -> Layout:
    towers = {
        "clip16": {**clip_leftovers(9, 64), **below("visual.", clip_vision(image_size, 16, 128, 3))},
        "swin": swin(image_size, 16, (2, 2, 2, 2), (1, 2, 4, 8), image_size // 32),
    }
    return {
        **below("vit_model.", towers[tower]),
        **below("text_transformer.", roberta(600, 32, 64, 2, 160)),
        **fusion(64, 128, 96, 192, 2),
        **heads(names, 96, 61, 600),
    }


def unicl_model(weights: Mapping[str, Tensor]) -> FlorenceModel:
    model = FlorenceModel(UNICL_SMALL).eval()
    model.load_state_dict(fit(weights, UNICL, model))
    return model


def meter_model(weights: Mapping[str, Tensor], tower: str, image_size: int, *names: str) -> MeterForMultipleTasks:
    model = MeterForMultipleTasks(meter_small(tower, image_size, *names)).eval()
    model.load_state_dict(fit(weights, METER, model))
    return model


# The released names and shapes, all of them, at the released sizes.


def meta_weights(name: str) -> dict[str, Tensor]:
    keys = read_json(PARITY / "keys" / f"{name}.keys.json")
    return {key: torch.empty(shape, device="meta") for key, shape in keys.items()}


@needs_parity
@pytest.mark.parametrize("name", UNICL_SIZES)
def test_every_key_of_the_released_unicl_files_has_its_place(name: str) -> None:
    with torch.device("meta"):
        model = FlorenceModel(UNICL_SIZES[name])
    assert fit(meta_weights(name), UNICL, model).keys() == model.state_dict().keys()


@needs_parity
@pytest.mark.parametrize("name", METER_SIZES)
def test_every_key_of_the_released_meter_files_has_its_place(name: str) -> None:
    config = METER_SIZES[name]
    with torch.device("meta"):
        model = (MeterForVisualReasoning if "nlvr2" in config.heads else MeterForMultipleTasks)(config)
    assert fit(meta_weights(name), METER, model).keys() == model.state_dict().keys()


@needs_parity
def test_the_layouts_written_here_are_the_released_ones() -> None:
    shapes = {key: tuple(shape) for key, shape in read_json(PUBLIC / "unicl_small" / "keys.json").items()}
    assert shapes == UNICL_LAYOUT
    for tower, image_size in (("clip16", 64), ("swin", 128)):
        written = meter_layout(tower, image_size, "mlm", "itm")
        keys = read_json(PUBLIC / f"meter_{tower}_roberta_small" / "pretrain.keys.json")
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
def test_unicl_answers_as_the_original_does() -> None:
    model = load_unicl(PUBLIC / "unicl_small" / "checkpoint.pth", UNICL_SMALL)
    inputs, expected = arrays(PUBLIC / "unicl_small" / "inputs.npz"), arrays(PUBLIC / "unicl_small" / "outputs.npz")
    check_unicl(model, inputs, expected)
    assert_close(model.get_text_features(inputs["input_ids_pad0"]), expected["text_features_pad0"], "padded with 0")


@needs_parity
def test_unicl_blocks_answer_as_the_original_does() -> None:
    model = load_unicl(PUBLIC / "unicl_small" / "checkpoint.pth", UNICL_SMALL)
    inputs, expected = arrays(PUBLIC / "unicl_small" / "inputs.npz"), arrays(PUBLIC / "unicl_small" / "outputs.npz")
    stages = {f"img.stage{i}.out": model.image_encoder.stages[i + 1].embed for i in range(3)}
    blocks = {f"txt.block{i}_LND": block for i, block in enumerate(model.text_encoder.blocks)}
    patches = {"img.patch_embed": model.image_encoder.stages[0].embed}
    with torch.no_grad(), outputs_of({**patches, **blocks, **stages}) as seen:
        model(inputs["image"], inputs["input_ids"])
    assert_close(seen["img.patch_embed"].flatten(1, 2), expected["img.patch_embed"], "patches")
    for name in blocks:
        assert_close(seen[name].transpose(0, 1), expected[name], name)
    # The original merges at the end of a stage, so what leaves its stage i is what enters ours, merged.
    for name in stages:
        assert_close(seen[name].flatten(1, 2), expected[name], name)


def test_unicl_rebuilt_from_names_answers_as_the_original_does() -> None:
    expected = arrays(EXPECTED / "unicl_small.npz")
    check_unicl(unicl_model(fill(UNICL_LAYOUT, FILL_SEED)), expected, expected)


def test_sister_names_of_unicl_are_understood() -> None:
    sisters = {"image_encoder.": "visual.", "text_encoder.": "text.", "image_projection": "vision_projection"}
    weights = fill(UNICL_LAYOUT, FILL_SEED)
    renamed = weights
    for theirs, sister in sisters.items():
        renamed = {key.replace(theirs, sister): tensor for key, tensor in renamed.items()}
    assert weights.keys() != renamed.keys()
    ours, again = unicl_model(weights).state_dict(), unicl_model(renamed).state_dict()
    assert all(torch.equal(ours[name], again[name]) for name in ours)


# METER.


def check_meter(model: MeterForMultipleTasks, inputs: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    meter = model.meter
    modules = {
        "text.cross_transform": meter.text_projection,
        "image.cross_transform": meter.image_projection,
        "pool.text": meter.text_pooler,
        "pool.image": meter.image_pooler,
        "text.embeddings": meter.text_encoder.embeddings,
        **{f"text.layer{i}": layer for i, layer in enumerate(meter.text_encoder.encoder.layer)},
        **{f"cross.text{i}": layer for i, layer in enumerate(meter.text_layers)},
        **{f"cross.image{i}": layer for i, layer in enumerate(meter.image_layers)},
    }
    with torch.no_grad(), outputs_of(modules) as seen:
        tokens = inputs["image.vit"] if "image.vit" in inputs else model.encode_images(inputs["image"])
        output = model(inputs["text_ids"], attention_mask=inputs["text_masks"], image_embeds=tokens)
    ours = {
        **{name: out if isinstance(out, Tensor) else out[0] for name, out in seen.items()},
        **{f"{head}_logits": logits for head, logits in output.logits.items()},
        "image.vit": tokens,
        "text_feats": output.fusion.text_states,
        "image_feats": output.fusion.image_states,
        "cls_feats": output.fusion.pooler_output,
    }
    compared = ours.keys() & expected.keys()
    assert {"cls_feats", *(f"{head}_logits" for head in model.config.heads if head != "rank")} <= compared
    for name in compared:
        assert_close(ours[name], expected[name], name)


METER_FILES = (
    ("clip16", "vqa", 96, ("vqa",)),
    ("clip16", "irtr", 96, ("itm", "rank")),
    ("swin", "vqa", 192, ("vqa",)),
    ("swin", "irtr", 192, ("itm", "rank")),
)


@needs_parity
@pytest.mark.parametrize(("tower", "task", "image_size", "names"), METER_FILES)
def test_meter_answers_as_the_original_does(tower: str, task: str, image_size: int, names: tuple[str, ...]) -> None:
    folder = PUBLIC / f"meter_{tower}_roberta_small"
    config = meter_small(tower, image_size, *names)
    model = load_meter(folder / f"{task}.ckpt", config, MeterForMultipleTasks)
    check_meter(model, arrays(folder / f"{task}.inputs.npz"), arrays(folder / f"{task}.outputs.npz"))


@needs_parity
@pytest.mark.parametrize(("tower", "image_size"), [("clip16", 64), ("swin", 128)])
def test_pretrained_meter_answers_as_the_original_does(tower: str, image_size: int) -> None:
    folder = PUBLIC / f"meter_{tower}_roberta_small"
    model = meter_model(fill(meter_layout(tower, image_size, "mlm", "itm"), FILL_SEED), tower, image_size, "mlm", "itm")
    check_meter(model, arrays(folder / "pretrain.inputs.npz"), arrays(folder / "pretrain.outputs.npz"))


@needs_parity
@pytest.mark.parametrize(("tower", "before", "after"), [("clip16", 64, 96), ("swin", 128, 192)])
def test_meter_at_another_resolution_answers_as_the_original_does(tower: str, before: int, after: int) -> None:
    folder = PUBLIC / f"meter_{tower}_roberta_small"
    weights = fill(meter_layout(tower, before, "mlm", "itm"), FILL_SEED)
    model = meter_model(weights, tower, after, "mlm", "itm")
    expected = arrays(folder / "resized.outputs.npz")
    resized = {key.removeprefix("resized:"): value for key, value in expected.items() if key.startswith("resized:")}
    renamed, unknown = METER.rename(resized)
    assert renamed and not unknown
    for name, tensor in renamed.items():
        assert_close(model.state_dict()[name], tensor, name)
    check_meter(model, arrays(folder / "resized.inputs.npz"), expected)


@needs_parity
@pytest.mark.parametrize(("tower", "image_size"), [("clip16", 96), ("swin", 192)])
def test_ranking_scores_every_text_with_every_picture(tower: str, image_size: int) -> None:
    folder = PUBLIC / f"meter_{tower}_roberta_small"
    model = load_meter(folder / "irtr.ckpt", meter_small(tower, image_size, "itm", "rank"), MeterForMultipleTasks)
    inputs, expected = arrays(folder / "irtr.inputs.npz"), arrays(folder / "irtr.outputs.npz")
    count = len(inputs["image"])
    pictures = torch.arange(count).repeat_interleave(count)
    with torch.no_grad():
        logits = model(
            inputs["text_ids"].repeat(count, 1),
            attention_mask=inputs["text_masks"].repeat(count, 1),
            image_embeds=model.encode_images(inputs["image"]),
            image_index=pictures,
        ).logits
    assert_close(logits["rank"].view(count, count), expected["rank_scores"], "rank")


@needs_parity
@pytest.mark.parametrize(("tower", "image_size"), [("clip16", 96), ("swin", 192)])
def test_the_vqa_loss_is_the_originals(tower: str, image_size: int) -> None:
    folder = PUBLIC / f"meter_{tower}_roberta_small"
    model = load_meter(folder / "vqa.ckpt", meter_small(tower, image_size, "vqa"), MeterForMultipleTasks)
    inputs, expected = arrays(folder / "vqa.inputs.npz"), arrays(folder / "vqa.outputs.npz")
    soft = torch.zeros(len(inputs["vqa_labels"]), 62, dtype=torch.float32)
    soft.scatter_(1, inputs["vqa_labels"] % 62, inputs["vqa_scores"].float())  # -1, no answer, falls into the last
    with torch.no_grad():
        output = model(
            inputs["text_ids"],
            attention_mask=inputs["text_masks"],
            pixel_values=inputs["image"],
            labels={"vqa": soft[:, :61]},
        )
    assert_close(output.loss, expected["vqa_loss"], "loss")


@pytest.mark.parametrize(
    ("tower", "image_size", "names", "seed"),
    [("clip16", 64, ("mlm", "itm"), FILL_SEED), ("swin", 192, ("vqa",), FILL_SEED + 1)],
)
def test_meter_rebuilt_from_names_answers_as_the_original_does(
    tower: str, image_size: int, names: tuple[str, ...], seed: int
) -> None:
    expected = arrays(EXPECTED / f"meter_{tower}_small.npz")
    model = meter_model(fill(meter_layout(tower, image_size, *names), seed), tower, image_size, *names)
    check_meter(model, expected, expected)


# The released sizes, filled and run.


def full_inputs(name: str) -> dict[str, Tensor]:
    inputs = arrays(PUBLIC / "fullsize" / f"{name}.inputs.npz")
    return {**inputs, "image": inputs["image"].float()}


def sliced(outputs: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Compare with names such as "img.norm[:, :8, :8]", which say what was kept."""
    compared = 0
    for name, tensor in expected.items():
        key, bracket, corner = name.partition("[:, :")
        if key in outputs:
            rows, columns = (int(part.strip(" :]")) for part in corner.split(",")) if bracket else (None, None)
            ours = outputs[key][:, :rows, :columns] if bracket else outputs[key]
            assert_close(ours, tensor, name)
            compared += 1
    assert compared >= 4


@needs_parity
@pytest.mark.slow
@pytest.mark.parametrize("name", UNICL_SIZES)
def test_unicl_at_its_released_size(name: str) -> None:
    model = FlorenceModel(UNICL_SIZES[name]).eval()
    model.load_state_dict(fit(fill(read_json(PARITY / "keys" / f"{name}.keys.json"), FILL_SEED), UNICL, model))
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
    sliced(outputs, arrays(PUBLIC / "fullsize" / f"{name}.outputs.npz"))


@needs_parity
@pytest.mark.slow
@pytest.mark.parametrize("name", ["meter_clip16_roberta_vqa576", "meter_swinbase_roberta_vqa384"])
def test_meter_at_its_released_size(name: str) -> None:
    model = MeterForMultipleTasks(METER_SIZES[name]).eval()
    model.load_state_dict(fit(fill(read_json(PARITY / "keys" / f"{name}.keys.json"), FILL_SEED), METER, model))
    inputs = full_inputs(name)
    with torch.no_grad():
        tokens = model.encode_images(inputs["image"])
        output = model(inputs["text_ids"], attention_mask=inputs["text_masks"], image_embeds=tokens)
    outputs = {
        "image.vit": tokens,
        "text_feats": output.fusion.text_states,
        "image_feats": output.fusion.image_states,
        "cls_feats": output.fusion.pooler_output,
        "vqa_logits": output.logits["vqa"],
    }
    sliced(outputs, arrays(PUBLIC / "fullsize" / f"{name}.outputs.npz"))


# Strictness.


def test_a_missing_weight_is_named() -> None:
    weights = fill(UNICL_LAYOUT, FILL_SEED)
    del weights["text_encoder.resblocks.1.ln_2.bias"]
    with pytest.raises(ModelError, match=r"missing: text_encoder\.blocks\.1\.norm2\.bias;"):
        unicl_model(weights)


def test_an_unexpected_weight_is_named() -> None:
    weights = {**fill(UNICL_LAYOUT, FILL_SEED), "image_encoder.head.weight": torch.zeros(2, 128)}
    with pytest.raises(ModelError, match=r"unexpected: image_encoder\.head\.weight;"):
        unicl_model(weights)


def test_a_head_that_the_configuration_lacks_is_named() -> None:
    weights = fill(meter_layout("clip16", 64, "mlm", "itm"), FILL_SEED)
    with pytest.raises(ModelError, match=r"unexpected: heads\.itm\.bias, heads\.itm\.weight;"):
        meter_model(weights, "clip16", 64, "mlm")


def test_a_weight_of_another_shape_is_named() -> None:
    weights = {**fill(UNICL_LAYOUT, FILL_SEED), "text_projection": torch.zeros(64, 50)}
    with pytest.raises(ModelError, match=r"another shape: text_projection\.weight \(50, 64\) for \(48, 64\)"):
        unicl_model(weights)


def test_positions_that_form_no_square_cannot_be_resized() -> None:
    weights = fill(meter_layout("clip16", 64, "itm"), FILL_SEED)
    weights["vit_model.visual.positional_embedding"] = torch.zeros(16, 128)
    with pytest.raises(ModelError, match="cannot resize 15 positions to 16"):
        meter_model(weights, "clip16", 64, "itm")


def test_one_key_can_fill_several_weights() -> None:
    halves = KeyMap(rules=(Rule("both", "first", lambda x: x[:1]), Rule("both", "second", lambda x: x[1:])), unused=())
    renamed, unknown = halves.rename({"both": torch.tensor([1.0, 2.0]), "other": torch.zeros(1)})
    assert {name: tensor.tolist() for name, tensor in renamed.items()} == {"first": [1.0], "second": [2.0]}
    assert unknown == ["other"]
