"""Trains the detector of florence-tiny: python -m recipes.florence_tiny.train_detector --help.

A Dynamic Head over the image encoder of florence-tiny learns from synthetic scenes whose boxes are known.
An interrupted run resumes from its last checkpoint; a GPU is used if there is one.
"""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch.utils.data import Dataset

from florence_rag.finetuning.detection import (
    CROP_PROBABILITY,
    BoxedImage,
    build_detector,
    collate_boxes,
    crop_boxed_image,
)
from florence_rag.models.processing import DetectionImageProcessor
from florence_rag.models.registry import TINY, find_model
from florence_rag.types import Box
from recipes.florence_tiny.recipe_trainer import train
from recipes.florence_tiny.scene_dataset import DRAWN_SIZE, scene_at
from recipes.florence_tiny.synthetic.drawing import draw_scene, object_boxes
from recipes.florence_tiny.synthetic.scene import CATEGORIES
from recipes.florence_tiny.synthetic.vocabulary import ANSWER_NAMES

LABELS: tuple[str, ...] = tuple(ANSWER_NAMES[name] for name in CATEGORIES)


class SceneBoxDataset(Dataset[BoxedImage]):
    """The training scenes with their boxes, drawn on access."""

    def __init__(self, count: int, *, seed: int = 0) -> None:
        self.count, self.seed = count, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> BoxedImage:
        scene = scene_at(index, self.seed)
        classes = np.array([CATEGORIES.index(obj.category) for obj in scene.objects])
        boxed = BoxedImage(draw_scene(scene, DRAWN_SIZE), np.array(object_boxes(scene), dtype=np.float32), classes)
        rng = random.Random(f"{self.seed}/zoom/{index}")
        return crop_boxed_image(boxed, _sample_window(rng)) if rng.random() < CROP_PROBABILITY else boxed


def _sample_window(rng: random.Random) -> Box:
    """Sample a window, xyxy in [0, 1], that is at least half as wide and high as the image."""
    width, height = rng.uniform(0.5, 1), rng.uniform(0.5, 1)
    left, top = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
    return left, top, left + width, top + height


def main(
    output: Annotated[Path, typer.Option(help="Folder for the checkpoints and the finished detector.")] = Path(
        "runs/detector"
    ),
    start: Annotated[str, typer.Option(help="The model whose image encoder the detector starts from.")] = TINY,
    steps: Annotated[int, typer.Option(help="Optimizer steps.")] = 1300,
    batch: Annotated[int, typer.Option(help="Images per step.")] = 16,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate, after the warm-up.")] = 7e-4,
    seed: Annotated[int, typer.Option(help="Seed of the scenes and the weights.")] = 0,
) -> None:
    """Train the detector of florence-tiny; run it again to resume an interrupted run."""
    torch.manual_seed(seed)
    model = build_detector(find_model(start).florence, LABELS)
    side = model.config.backbone_config.image_size
    processor = DetectionImageProcessor(size=side, fit="squash", enlarge=1.0)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f}M parameters", flush=True)
    data = SceneBoxDataset(steps * batch, seed=seed)
    train(
        model,
        data,
        partial(collate_boxes, processor),
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
