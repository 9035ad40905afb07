"""Measures the detector of florence-tiny on drawn scenes it never saw, with COCO's own scoring (pycocotools).

python benchmarks/detector.py [--detector NAME_OR_FOLDER] [--scenes 500] [--json FILE]
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from rich.console import Console
from rich.table import Table

from florence_rag.cli.logging_setup import quiet_libraries
from florence_rag.models.registry import TINY, find_model
from florence_rag.perception.base import Detection
from florence_rag.perception.detector import DyHeadDetector
from florence_rag.types import Box, Frame
from recipes.florence_tiny.synthetic.drawing import draw_scene, object_boxes
from recipes.florence_tiny.synthetic.scene import CATEGORIES, Scene, sample_scene
from recipes.florence_tiny.train_detector import LABELS

SIZE = (640, 480)
GROUPS = {"all combinations": "any", "with a combination never trained on": "held-out"}
ALMOST_ALL = 0.01
"""The least confidence of what is scored: average precision wants the doubtful, too."""


def photograph(scene: Scene) -> Frame:
    """The scene as a person would index it: a 640 x 480 JPEG, decoded again."""
    file = io.BytesIO()
    draw_scene(scene).save(file, "JPEG", quality=90)
    return np.asarray(Image.open(file))


def score(truths: Sequence[Sequence[tuple[str, Box]]], found: Sequence[Sequence[Detection]]) -> dict[str, float]:
    """COCO's average precision: AP over IoU 0.50:0.95, AP50, AP75, and AP50 of every label."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": i, "width": SIZE[0], "height": SIZE[1]} for i in range(len(truths))],
            "categories": [{"id": i + 1, "name": label} for i, label in enumerate(LABELS)],
            "annotations": [
                {"id": number, "iscrowd": 0, **entry}
                for number, entry in enumerate(_entries(truths), start=1)  # 0 would mean "not matched"
            ],
        }
        truth.createIndex()
        flat = [[(region.label, region.box) for region in regions] for regions in found]
        scores = [region.confidence for regions in found for region in regions]
        guesses = [{**entry, "score": sure} for entry, sure in zip(_entries(flat), scores, strict=True)]
        judge = COCOeval(truth, truth.loadRes(guesses), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    precision = judge.eval["precision"][0, :, :, 0, -1]  # IoU 0.5: (recalls, labels)
    of_labels = {f"AP50 {label}": float(precision[:, i].mean()) for i, label in enumerate(LABELS)}
    return {"AP": float(judge.stats[0]), "AP50": float(judge.stats[1]), "AP75": float(judge.stats[2]), **of_labels}


def _entries(pictures: Sequence[Sequence[tuple[str, Box]]]) -> list[dict[str, Any]]:
    rows = []
    for index, things in enumerate(pictures):
        for label, (left, top, right, bottom) in things:
            x, y, width, height = left * SIZE[0], top * SIZE[1], (right - left) * SIZE[0], (bottom - top) * SIZE[1]
            box = {"bbox": [x, y, width, height], "area": width * height}
            rows.append({"image_id": index, "category_id": LABELS.index(label) + 1, **box})
    return rows


def truth_of(scene: Scene) -> list[tuple[str, Box]]:
    """What stands in a scene, and where."""
    names = [LABELS[CATEGORIES.index(thing.category)] for thing in scene.objects]
    return list(zip(names, object_boxes(scene), strict=True))


def measure(detector: DyHeadDetector, group: str, count: int) -> dict[str, float]:
    """All figures over one kind of scenes, and milliseconds a picture."""
    rng = random.Random(f"detector benchmark {group}")
    scenes = [sample_scene(rng, GROUPS[group]) for _ in range(count)]  # type: ignore[arg-type]
    frames = [photograph(scene) for scene in scenes]
    start = time.perf_counter()
    found = detector.detect(frames)
    spent_ms = 1000 * (time.perf_counter() - start) / count
    return {**score([truth_of(scene) for scene in scenes], found), "ms a picture": spent_ms}


def table(figures: dict[str, dict[str, float]]) -> Table:
    """A column for each kind of scenes."""
    drawn = Table("", *figures)
    for name in next(iter(figures.values())):
        digits = 1 if name.startswith("ms") else 3
        drawn.add_row(name, *(f"{column[name]:.{digits}f}" for column in figures.values()))
    return drawn


def main(
    detect: Annotated[str, typer.Option("--detector", help="Name of a model, or a folder with detector/.")] = TINY,
    scenes: Annotated[int, typer.Option(help="Scenes of each kind.")] = 500,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the figures here.")] = None,
) -> None:
    """Measure and print."""
    quiet_libraries()
    card = find_model(detect, "detect")
    detector = DyHeadDetector.from_pretrained(card.detector, name=card.name, threshold=ALMOST_ALL)
    figures = {group: measure(detector, group, scenes) for group in GROUPS}
    Console().print(table(figures))
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
