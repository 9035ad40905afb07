"""The recipe of florence-tiny's detector: python -m florence_rag.training.detector --help.

Dynamic Head over the image encoder that florence-tiny already has, trained on drawn scenes whose boxes are known.
A run that was cut off goes on from its last checkpoint; a GPU is used where there is one.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image
from torch.utils.data import Dataset

from florence_rag.models.configuration_dyhead import DyHeadConfig, DyHeadDetectorConfig
from florence_rag.models.detection_processor import DetectionImageProcessor
from florence_rag.models.dyhead import DyHeadForObjectDetection
from florence_rag.models.florence import FlorenceModel
from florence_rag.models.registry import TINY, find_model
from florence_rag.training.data import DRAWN_SIZE, scene_at
from florence_rag.training.recipe import train
from florence_rag.training.world.draw import boxes, draw
from florence_rag.training.world.scene import OBJECTS
from florence_rag.training.world.vocabulary import ANSWER_NAMES
from florence_rag.types import Box

LABELS: tuple[str, ...] = tuple(ANSWER_NAMES[name] for name in OBJECTS)
ZOOMED = 0.25
"""Share of the pictures of which only a part is shown."""
VISIBLE = 0.5
"""Least share of a thing that must be left of it in a part of a picture to be asked for."""


@dataclass(frozen=True)
class Picture:
    """A picture with what stands in it: boxes (N, 4) in shares of it, classes (N,), indices of LABELS."""

    image: Image.Image
    boxes: np.ndarray
    classes: np.ndarray


class ScenesWithBoxes(Dataset[Picture]):
    """The training scenes, drawn when they are asked for."""

    def __init__(self, count: int, *, seed: int = 0) -> None:
        self.count, self.seed = count, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Picture:
        scene = scene_at(index, self.seed)
        classes = np.array([OBJECTS.index(thing.object) for thing in scene.things])
        picture = Picture(draw(scene, DRAWN_SIZE), np.array(boxes(scene), dtype=np.float32), classes)
        rng = random.Random(f"{self.seed}/zoom/{index}")
        return zoomed(picture, _window(rng)) if rng.random() < ZOOMED else picture


def _window(rng: random.Random) -> Box:
    """A part of a picture, at least half as wide and high."""
    width, height = rng.uniform(0.5, 1), rng.uniform(0.5, 1)
    left, top = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
    return left, top, left + width, top + height


def zoomed(picture: Picture, window: Box) -> Picture:
    """Only a part of a picture, with the things that can be seen well enough there."""
    left, top, right, bottom = window
    width, height = picture.image.size
    image = picture.image.resize(
        picture.image.size, Image.Resampling.BICUBIC, (left * width, top * height, right * width, bottom * height)
    )
    inside = (picture.boxes - [left, top, left, top]) / [right - left, bottom - top, right - left, bottom - top]
    cut = inside.clip(0, 1)
    kept = _areas(cut) >= VISIBLE * _areas(inside)
    return Picture(image, cut[kept].astype(np.float32), picture.classes[kept])


def _areas(corners: np.ndarray) -> np.ndarray:
    return (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])


@dataclass
class BoxCollator:
    """Pictures -> the arguments of DyHeadForObjectDetection.forward."""

    processor: DetectionImageProcessor

    def __call__(self, rows: Sequence[Picture]) -> dict[str, Any]:
        """-> pixel_values (B, 3, H, W) and labels."""
        labels = [{"boxes": torch.from_numpy(row.boxes), "class_labels": torch.from_numpy(row.classes)} for row in rows]
        return {**self.processor([row.image for row in rows]), "labels": labels}


def build_detector(start: Path, labels: Sequence[str] = LABELS, *, channels: int = 64) -> DyHeadForObjectDetection:
    """A fresh head over the image encoder of a trained dual tower; start: its folder."""
    florence = FlorenceModel.from_pretrained(start, dtype=torch.float32)
    config = DyHeadDetectorConfig(
        backbone_config=florence.config.image_config,
        head_config=DyHeadConfig(channels=channels, num_blocks=2, groups=8),
        # Things are 10 to 50 pixels wide in a picture of 112.
        stages=(0, 1, 2),
        extra_levels=0,
        anchor_scale=4.0,
        id2label=dict(enumerate(labels)),
    )
    model = DyHeadForObjectDetection(config)
    model.backbone.stages.load_state_dict(florence.image_encoder.stages.state_dict())
    return model


def main(
    output: Annotated[Path, typer.Option(help="Checkpoints and the finished detector go here.")] = Path(
        "runs/detector"
    ),
    start: Annotated[str, typer.Option(help="The model whose image encoder the detector starts from.")] = TINY,
    steps: Annotated[int, typer.Option(help="Of the optimiser.")] = 1300,
    batch: Annotated[int, typer.Option(help="Pictures in a step.")] = 16,
    learning_rate: Annotated[float, typer.Option(help="The largest, after the warm-up.")] = 7e-4,
    seed: Annotated[int, typer.Option(help="Of scenes and weights.")] = 0,
) -> None:
    """Train the detector of florence-tiny; run it again to go on after an interruption."""
    torch.manual_seed(seed)
    tower = find_model(start).florence
    model = build_detector(tower)
    side = model.config.backbone_config.image_size
    processor = DetectionImageProcessor(size=side, fit="squash", enlarge=1.0)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f}M parameters", flush=True)
    data = ScenesWithBoxes(steps * batch, seed=seed)
    train(
        model,
        data,
        BoxCollator(processor),
        output / "checkpoints",
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        seed=seed,
    )
    model.half().save_pretrained(output / "detector")
    processor.save_pretrained(output / "detector")


if __name__ == "__main__":
    typer.run(main)
