"""Measures the detector of florence-tiny on held-out synthetic scenes, with COCO's own scoring (pycocotools).

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
MIN_CONFIDENCE = 0.01
"""Least confidence of the scored boxes: average precision also needs uncertain ones."""


def draw_compressed(scene: Scene) -> Frame:
    """Return the scene after compression as a 640 x 480 JPEG file."""
    file = io.BytesIO()
    draw_scene(scene).save(file, "JPEG", quality=90)
    return np.asarray(Image.open(file))


def score(truths: Sequence[Sequence[tuple[str, Box]]], found: Sequence[Sequence[Detection]]) -> dict[str, float]:
    """Return COCO's average precision: AP over IoU 0.50:0.95, AP50, AP75, and AP50 of every label."""
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
        guesses = [{**entry, "score": confidence} for entry, confidence in zip(_entries(flat), scores, strict=True)]
        evaluation = COCOeval(truth, truth.loadRes(guesses), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision = evaluation.eval["precision"][0, :, :, 0, -1]  # IoU 0.5: (recalls, labels)
    of_labels = {f"AP50 {label}": float(precision[:, i].mean()) for i, label in enumerate(LABELS)}
    return {
        "AP": float(evaluation.stats[0]),
        "AP50": float(evaluation.stats[1]),
        "AP75": float(evaluation.stats[2]),
        **of_labels,
    }


def _entries(images: Sequence[Sequence[tuple[str, Box]]]) -> list[dict[str, Any]]:
    rows = []
    for index, labeled in enumerate(images):
        for label, (left, top, right, bottom) in labeled:
            x, y, width, height = left * SIZE[0], top * SIZE[1], (right - left) * SIZE[0], (bottom - top) * SIZE[1]
            box = {"bbox": [x, y, width, height], "area": width * height}
            rows.append({"image_id": index, "category_id": LABELS.index(label) + 1, **box})
    return rows


def truth_of(scene: Scene) -> list[tuple[str, Box]]:
    """Return the labels and boxes of the objects of a scene."""
    names = [LABELS[CATEGORIES.index(obj.category)] for obj in scene.objects]
    return list(zip(names, object_boxes(scene), strict=True))


def measure(detector: DyHeadDetector, group: str, count: int) -> dict[str, float]:
    """Return all metrics over a group of scenes, and milliseconds per image."""
    rng = random.Random(f"detector benchmark {group}")
    scenes = [sample_scene(rng, GROUPS[group]) for _ in range(count)]  # type: ignore[arg-type]
    frames = [draw_compressed(scene) for scene in scenes]
    start = time.perf_counter()
    found = detector.detect(frames)
    elapsed_ms = 1000 * (time.perf_counter() - start) / count
    return {**score([truth_of(scene) for scene in scenes], found), "ms per image": elapsed_ms}


def table(metrics: dict[str, dict[str, float]]) -> Table:
    """Return a table with a column for each group of scenes."""
    table = Table("", *metrics)
    for name in next(iter(metrics.values())):
        digits = 1 if name.startswith("ms") else 3
        table.add_row(name, *(f"{column[name]:.{digits}f}" for column in metrics.values()))
    return table


def main(
    detect: Annotated[str, typer.Option("--detector", help="Name of a model, or a folder with detector/.")] = TINY,
    scenes: Annotated[int, typer.Option(help="Number of scenes per group.")] = 500,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the metrics here.")] = None,
) -> None:
    """Measure, and print a table."""
    quiet_libraries()
    card = find_model(detect, "detect")
    detector = DyHeadDetector.from_pretrained(card.detector, name=card.name, threshold=MIN_CONFIDENCE)
    metrics = {group: measure(detector, group, scenes) for group in GROUPS}
    Console().print(table(metrics))
    if json_file is not None:
        json_file.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
