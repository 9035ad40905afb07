"""Accuracy of tag propagation on synthetic scenes, tagged with the categories that they show.

python benchmarks/tag.py [--scenes 600] [--json FILE]

Some scenes have their tags; the others are tagged, and their tags are compared with the truth. For comparison, the
labels are used without tagged scenes, and tagged neighbors with meaningless labels.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from florence_rag import FlorenceRAG
from florence_rag.cli.logging_setup import quiet_libraries
from florence_rag.models.registry import TINY
from florence_rag.tasks.classifier import label_vectors
from florence_rag.tasks.tag import TaggedItems, train_tagger
from recipes.florence_tiny.synthetic.drawing import draw_scene
from recipes.florence_tiny.synthetic.scene import CATEGORIES, Scene, sample_scene
from recipes.florence_tiny.synthetic.vocabulary import ANSWER_NAMES

LABELS = [ANSWER_NAMES[name] for name in CATEGORIES]
THRESHOLD = 0.5


def truth(scene: Scene) -> list[str]:
    """Return the categories that a scene shows."""
    return sorted({ANSWER_NAMES[obj.category] for obj in scene.objects})


def scores(said: np.ndarray, has: np.ndarray) -> dict[str, float]:
    """Return precision, recall, F1, the share without a tag, and the expected calibration error; both (N, labels)."""
    predicted = said >= THRESHOLD
    right = float((predicted & has).sum())
    precision, recall = right / max(predicted.sum(), 1), right / has.sum()
    bins = np.minimum((said * 10).astype(int), 9)
    error = sum(abs(said[bins == i].mean() - has[bins == i].mean()) * (bins == i).mean() for i in np.unique(bins))
    f1 = 2 * precision * recall / max(precision + recall, 1e-9)
    unsure = 1 - predicted.any(axis=1).mean()
    return {"precision": precision, "recall": recall, "F1": f1, "unsure": unsure, "calibration error": float(error)}


def measure(rag: FlorenceRAG, ids: Sequence[str], scenes: Sequence[Scene], tagged: int) -> dict[str, dict[str, Any]]:
    """Measure with a number of tagged scenes, on the others."""
    rag.set_tags({id: truth(scene) for id, scene in zip(ids[:tagged], scenes[:tagged], strict=True)})
    start = time.perf_counter()
    report = rag.tag(LABELS, threshold=THRESHOLD)
    elapsed_ms = 1000 * (time.perf_counter() - start) / len(report.images)
    has = np.array([[label in truth(scene) for label in LABELS] for scene in scenes])
    vectors, labels = rag.index.vectors(ids), label_vectors(rag.models.embedder, LABELS)
    known = TaggedItems(vectors[:tagged], has[:tagged])
    meaningless = np.roll(labels, labels.shape[1] // 2, axis=1)
    ways = {
        f"both, {tagged} scenes tagged": train_tagger(labels, known),
        f"neighbors alone, {tagged} tagged": train_tagger(meaningless, known),
    }
    rows: dict[str, dict[str, Any]] = {
        name: scores(tagger.confidences(vectors[tagged:]), has[tagged:]) for name, tagger in ways.items()
    }
    first = next(iter(rows.values()))
    first["ms"] = elapsed_ms
    if report.quality:
        first["cross-validated F1"] = report.quality.f1
    return rows


def main(
    scenes: Annotated[int, typer.Option(help="Number of scenes.")] = 600,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the metrics here.")] = None,
) -> None:
    """Measure, and print a table."""
    quiet_libraries()
    rng = random.Random("tag benchmark")
    sampled = [sample_scene(rng, "any") for _ in range(scenes)]
    metrics: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder, FlorenceRAG.open(Path(folder) / "town.db", TINY, ocr="never") as rag:
        ids = rag.items.upsert_images(
            [draw_scene(scene, (320, 240)) for scene in sampled], ids=[f"{i:05}" for i in range(scenes)]
        )
        has = np.array([[label in truth(scene) for label in LABELS] for scene in sampled])
        none = train_tagger(label_vectors(rag.models.embedder, LABELS), TaggedItems(np.zeros((0, 1)), has[:0]))
        metrics["labels alone"] = scores(none.confidences(rag.index.vectors(ids)), has)
        for tagged in (20, 50, 200):
            metrics |= measure(rag, ids, sampled, tagged)
    columns = ["precision", "recall", "F1", "unsure", "calibration error", "cross-validated F1", "ms"]
    table = Table("", *columns)
    for name, row in metrics.items():
        table.add_row(name, *(f"{row[column]:.3f}" if column in row else "" for column in columns))
    Console().print(table)
    if json_file is not None:
        json_file.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
