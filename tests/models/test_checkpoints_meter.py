"""METER with the weights of the original: its features, its outputs, its loss."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from florence_rag.errors import ModelError
from florence_rag.models.checkpoint_files import read_weights
from florence_rag.models.checkpoints import METER, load_into, load_released
from florence_rag.models.meter_heads import MeterForMultipleTasks
from tests.models.fill import fill
from tests.models.reference import (
    EXPECTED,
    FILL_SEED,
    METER_SIZES,
    PARITY,
    PUBLIC,
    arrays,
    assert_close,
    assert_corners_close,
    full_inputs,
    meter_layout,
    meter_small,
    needs_parity,
    outputs_of,
    read_json,
)


def meter_model(weights: Mapping[str, Tensor], encoder: str, image_size: int, *names: str) -> MeterForMultipleTasks:
    return load_into(MeterForMultipleTasks(meter_small(encoder, image_size, *names)), weights, METER)


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
    with torch.no_grad(), outputs_of(modules) as outputs:
        tokens = inputs["image.vit"] if "image.vit" in inputs else model.encode_images(inputs["image"])
        output = model(inputs["text_ids"], attention_mask=inputs["text_masks"], image_embeds=tokens)
    ours = {
        **{name: out if isinstance(out, Tensor) else out[0] for name, out in outputs.items()},
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
@pytest.mark.parametrize(("encoder", "task", "image_size", "names"), METER_FILES)
def test_meter_equals_the_original(encoder: str, task: str, image_size: int, names: tuple[str, ...]) -> None:
    folder = PUBLIC / f"meter_{encoder}_roberta_small"
    config = meter_small(encoder, image_size, *names)
    model = load_released(read_weights(folder / f"{task}.ckpt"), config)
    check_meter(model, arrays(folder / f"{task}.inputs.npz"), arrays(folder / f"{task}.outputs.npz"))


@needs_parity
@pytest.mark.parametrize(("encoder", "image_size"), [("clip16", 64), ("swin", 128)])
def test_meter_from_its_training_state_equals_the_original(encoder: str, image_size: int) -> None:
    folder = PUBLIC / f"meter_{encoder}_roberta_small"
    weights = read_weights(folder / "pretrain.ckpt")
    model = load_released(weights, meter_small(encoder, image_size, "mlm", "itm"))
    filled = fill(meter_layout(encoder, image_size, "mlm", "itm"), FILL_SEED)
    assert all(torch.equal(weights[name], filled[name]) for name in filled)
    check_meter(model, arrays(folder / "pretrain.inputs.npz"), arrays(folder / "pretrain.outputs.npz"))


@needs_parity
@pytest.mark.parametrize(("encoder", "before", "after"), [("clip16", 64, 96), ("swin", 128, 192)])
def test_meter_at_another_resolution_equals_the_original(encoder: str, before: int, after: int) -> None:
    folder = PUBLIC / f"meter_{encoder}_roberta_small"
    weights = fill(meter_layout(encoder, before, "mlm", "itm"), FILL_SEED)
    model = meter_model(weights, encoder, after, "mlm", "itm")
    expected = arrays(folder / "resized.outputs.npz")
    resized = {key.removeprefix("resized:"): value for key, value in expected.items() if key.startswith("resized:")}
    renamed, unknown = METER.rename(resized)
    assert renamed and not unknown
    for name, tensor in renamed.items():
        assert_close(model.state_dict()[name], tensor, name)
    check_meter(model, arrays(folder / "resized.inputs.npz"), expected)


@needs_parity
@pytest.mark.parametrize(("encoder", "image_size"), [("clip16", 96), ("swin", 192)])
def test_ranking_scores_every_text_with_every_image(encoder: str, image_size: int) -> None:
    folder = PUBLIC / f"meter_{encoder}_roberta_small"
    model = load_released(read_weights(folder / "irtr.ckpt"), meter_small(encoder, image_size, "itm", "rank"))
    inputs, expected = arrays(folder / "irtr.inputs.npz"), arrays(folder / "irtr.outputs.npz")
    count = len(inputs["image"])
    images = torch.arange(count).repeat_interleave(count)
    with torch.no_grad():
        logits = model(
            inputs["text_ids"].repeat(count, 1),
            attention_mask=inputs["text_masks"].repeat(count, 1),
            image_embeds=model.encode_images(inputs["image"]),
            image_index=images,
        ).logits
    assert_close(logits["rank"].view(count, count), expected["rank_scores"], "rank")


@needs_parity
@pytest.mark.parametrize(("encoder", "image_size"), [("clip16", 96), ("swin", 192)])
def test_the_vqa_loss_equals_the_original(encoder: str, image_size: int) -> None:
    folder = PUBLIC / f"meter_{encoder}_roberta_small"
    model = load_released(read_weights(folder / "vqa.ckpt"), meter_small(encoder, image_size, "vqa"))
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
    ("encoder", "image_size", "names", "seed"),
    [("clip16", 64, ("mlm", "itm"), FILL_SEED), ("swin", 192, ("vqa",), FILL_SEED + 1)],
)
def test_meter_with_weights_from_names_equals_the_original(
    encoder: str, image_size: int, names: tuple[str, ...], seed: int
) -> None:
    expected = arrays(EXPECTED / f"meter_{encoder}_small.npz")
    model = meter_model(fill(meter_layout(encoder, image_size, *names), seed), encoder, image_size, *names)
    check_meter(model, expected, expected)


@needs_parity
@pytest.mark.slow
@pytest.mark.parametrize("name", ["meter_clip16_roberta_vqa576", "meter_swinbase_roberta_vqa384"])
def test_meter_at_its_released_size(name: str) -> None:
    weights = fill(read_json(PARITY / "keys" / f"{name}.keys.json"), FILL_SEED)
    model = load_into(MeterForMultipleTasks(METER_SIZES[name]), weights, METER)
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
    assert_corners_close(outputs, arrays(PUBLIC / "fullsize" / f"{name}.outputs.npz"))


def test_a_head_that_the_configuration_lacks_is_named() -> None:
    weights = fill(meter_layout("clip16", 64, "mlm", "itm"), FILL_SEED)
    with pytest.raises(ModelError, match=r"unexpected: heads\.itm\.bias, heads\.itm\.weight;"):
        meter_model(weights, "clip16", 64, "mlm")


@pytest.mark.parametrize(
    ("positions", "problem"),
    [
        (torch.zeros(16, 128), "cannot resize 15 positions to 16"),
        (torch.zeros(0, 128), "cannot resize 0 positions to 16"),
        (torch.zeros(()), "of another shape: "),
    ],
)
def test_positions_that_form_no_square_cannot_be_resized(positions, problem) -> None:
    weights = fill(meter_layout("clip16", 64, "itm"), FILL_SEED)
    weights["vit_model.visual.positional_embedding"] = positions
    with pytest.raises(ModelError, match=problem):
        meter_model(weights, "clip16", 64, "itm")
