"""Parity of Dynamic Head with the original, its two ways to read a coarser level, and the detector around it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoImageProcessor

from florence_rag.errors import ModelError
from florence_rag.models.checkpoints import DYHEAD, load_dyhead, load_into
from florence_rag.models.dyhead import (
    DetectorOutput,
    DyHeadConfig,
    DyHeadForObjectDetection,
    DyHeadModel,
    detect_objects,
)
from florence_rag.models.processing import DetectionImageProcessor
from tests.models import tiny
from tests.models.fill import fill, fill_value
from tests.models.layouts import dyhead
from tests.models.reference import EXPECTED, FILL_SEED, PUBLIC, arrays, assert_close, needs_parity, read_json

SMALL = DyHeadConfig(channels=32, num_blocks=2, coarse="released")
FIXTURE = PUBLIC / "dyhead_small"
SIZES = {"even": [(16, 24), (8, 12), (4, 6)], "odd": [(13, 19), (7, 10), (4, 5)]}


def levels(name: str) -> list[Tensor]:
    """Inputs by the rule of the weights, scaled to the magnitude of normalized features."""
    shapes = [(2, 32, *size) for size in SIZES[name]]
    return [torch.from_numpy(fill_value(f"{name}.{i}", shape, 0)) * 17 for i, shape in enumerate(shapes)]


def dynamic_head(coarse: str = "released") -> DyHeadModel:
    model = DyHeadModel(DyHeadConfig(channels=32, num_blocks=2, coarse=coarse))
    return load_into(model, fill(dyhead(32, 2), FILL_SEED), DYHEAD)


@needs_parity
def test_the_layout_of_the_tests_is_the_released_one() -> None:
    shapes = {key: tuple(shape) for key, shape in read_json(FIXTURE / "keys.json").items()}
    assert shapes == dyhead(32, 2)


@needs_parity
@pytest.mark.parametrize("sides", ["even", "odd"])
@torch.no_grad()
def test_dynamic_head_equals_the_original(sides: str) -> None:
    inputs, expected = arrays(FIXTURE / "inputs.npz"), arrays(FIXTURE / "outputs.npz")
    model = load_dyhead(FIXTURE / "checkpoint.pth", SMALL)
    names = [f"p{i}" for i in range(3, 8)]
    found = model([inputs[f"{sides}.{name}"] for name in names])
    for name, ours in zip(names, found, strict=True):
        assert_close(ours, expected[f"{sides}.out.{name}"], name)


@needs_parity
@torch.no_grad()
def test_with_resized_levels_dynamic_head_differs_from_the_original() -> None:
    inputs, expected = arrays(FIXTURE / "inputs.npz"), arrays(FIXTURE / "outputs.npz")
    model = load_dyhead(FIXTURE / "checkpoint.pth", DyHeadConfig(channels=32, num_blocks=2))
    found = model([inputs[f"even.p{i}"] for i in range(3, 8)])
    assert 0.5 < (found[0] - expected["even.out.p3"]).abs().max() < 2


@pytest.mark.parametrize("coarse", ["released", "resized"])
@pytest.mark.parametrize("sides", SIZES)
@torch.no_grad()
def test_dynamic_head_with_weights_from_names_equals_recorded_outputs(sides: str, coarse: str) -> None:
    """The expected numbers were recorded when the outputs were equal to the original."""
    expected = arrays(EXPECTED / "dyhead_small.npz")
    for index, level in enumerate(dynamic_head(coarse)(levels(sides))):
        assert_close(level[0, ::4, ::2, ::2], expected[f"{coarse}.{sides}.{index}"], f"level {index}")


@torch.no_grad()
def test_shifting_the_image_shifts_the_resized_coarser_level() -> None:
    """Away from the borders, shifted inputs give shifted outputs, which does not hold for "released"."""
    still = [torch.randn(1, 32, 32 // 2**i, 32 // 2**i, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    moved = [level.roll(8 // 2**i, dims=3) for i, level in enumerate(still)]
    differences = {}
    for coarse in ("resized", "released"):
        block = dynamic_head(coarse).blocks[0]
        # With aligned corners, the shift is not exact: only large differences mean another position.
        finest = [block.convolve_coarser(maps[1], *offsets_and_mask(block, maps[0])) for maps in (still, moved)]
        differences[coarse] = (finest[0].roll(8, dims=3) - finest[1])[..., 12:-4, 12:-4].abs().mean()
    assert differences["resized"] < differences["released"] / 2


def offsets_and_mask(block: torch.nn.Module, level: Tensor) -> tuple[Tensor, Tensor]:
    offset, mask = block.offset(level).split((18, 9), dim=1)
    return offset, mask.sigmoid()


def test_only_the_dynamic_head_of_a_detector_is_loaded(tmp_path: Path) -> None:
    weights = {
        **fill(dyhead(32, 2), FILL_SEED),
        "backbone.fpn.fpn_lateral3.weight": torch.zeros(1),
        "bbox": torch.ones(1),
    }
    torch.save(weights, tmp_path / "detector.pth")
    ours, theirs = load_dyhead(tmp_path / "detector.pth", SMALL).state_dict(), dynamic_head().state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_dynamic_head_of_another_size_is_an_error(tmp_path: Path) -> None:
    torch.save(fill(dyhead(32, 1), FILL_SEED), tmp_path / "one.pth")
    with pytest.raises(ModelError, match=r"missing: backbone\.dyhead_tower\.1\.AttnConv\.1\.bias"):
        load_dyhead(tmp_path / "one.pth", SMALL)


def labels() -> list[dict[str, Tensor]]:
    boxes = [[0.1, 0.1, 0.5, 0.6], [0.5, 0.5, 0.9, 0.9]]
    empty = {"boxes": torch.zeros(0, 4), "class_labels": torch.zeros(0, dtype=torch.long)}
    return [{"boxes": torch.tensor(boxes), "class_labels": torch.tensor([0, 2])}, empty, empty]


def test_the_detector_learns_its_training_images() -> None:
    torch.manual_seed(0)
    model = DyHeadForObjectDetection(tiny.detector()).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        loss = model(tiny.images(), labels=labels()).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 3
    with torch.no_grad():
        found = detect_objects(model.eval()(tiny.images()), threshold=0.3)
    assert set(found[0]["labels"].tolist()) == {0, 2}
    assert not len(found[1]["boxes"]) and not len(found[2]["boxes"])
    best = [found[0]["labels"].tolist().index(label) for label in (0, 2)]
    torch.testing.assert_close(found[0]["boxes"][best], labels()[0]["boxes"], atol=0.08, rtol=0)


def test_images_without_objects_have_a_loss_and_gradients() -> None:
    model = DyHeadForObjectDetection(tiny.detector()).train()
    loss = model(tiny.images(), labels=labels()[1:] + labels()[1:2]).loss
    loss.backward()
    assert loss.isfinite() and model.class_head.weight.grad.any()


def output(boxes: list[list[float]], logits: list[list[float]]) -> DetectorOutput:
    return DetectorOutput(
        logits=torch.tensor([logits]), center_logits=torch.full((1, len(boxes)), 20.0), boxes=torch.tensor([boxes])
    )


def test_of_two_overlapping_detections_the_better_one_is_kept() -> None:
    boxes = [[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.5, 0.52], [0.0, 0.0, 0.5, 0.5]]
    (found,) = detect_objects(output(boxes, [[2.0, -9.0], [3.0, -9.0], [-9.0, 1.0]]), threshold=0.3)
    assert found["labels"].tolist() == [0, 1]
    assert found["boxes"][0].tolist() == pytest.approx(boxes[1])
    assert found["scores"][0] > found["scores"][1] > 0.3


def test_boxes_are_clipped_to_the_image_and_converted_to_its_pixels() -> None:
    outputs = output([[-0.2, 0.25, 0.5, 1.4]], [[5.0]])
    squashed = DetectionImageProcessor(size=32, fit="squash")
    (shares,), (pixels,) = (
        squashed.post_process_object_detection(outputs, target_sizes=sizes) for sizes in (None, [(40, 200)])
    )
    assert shares["boxes"].tolist() == [pytest.approx([0.0, 0.25, 0.5, 1.0])]
    assert pixels["boxes"].tolist() == [pytest.approx([0.0, 10.0, 100.0, 40.0])]


def test_boxes_in_a_cropped_image_are_converted_to_the_whole_image() -> None:
    cropping = DetectionImageProcessor(size=32, fit="crop", enlarge=1.0)
    (found,) = cropping.post_process_object_detection(output([[0.0, 0.0, 1.0, 1.0]], [[5.0]]), target_sizes=[(32, 64)])
    assert found["boxes"].tolist() == [pytest.approx([16.0, 0.0, 48.0, 32.0])]


def test_a_saved_processor_is_loaded(tmp_path: Path) -> None:
    DetectionImageProcessor(size=32, fit="squash").save_pretrained(tmp_path)
    tiny.detector().save_pretrained(tmp_path)
    loaded = AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    assert isinstance(loaded, DetectionImageProcessor)
    assert loaded(np.zeros((20, 30, 3), np.uint8))["pixel_values"].shape == (1, 3, 32, 32)
