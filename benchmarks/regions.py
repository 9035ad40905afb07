"""Effect of regions on searches for small objects in synthetic scenes.

python benchmarks/regions.py [--scenes 200] [--json FILE]
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from florence_rag import FlorenceRAG
from florence_rag.cli.logging_setup import quiet_libraries
from florence_rag.models.registry import TINY
from florence_rag.types import Box, Hit
from recipes.florence_tiny.synthetic.captions import canonical_caption, caption
from recipes.florence_tiny.synthetic.drawing import draw_scene, object_boxes
from recipes.florence_tiny.synthetic.scene import Combination, Scene, sample_scene
from recipes.florence_tiny.synthetic.statements import sample_statement, statement_text
from recipes.florence_tiny.synthetic.vocabulary import a, phrase

SETTINGS = {"whole images": None, "with regions": TINY}


def overlap(one: Box, other: Box) -> float:
    """Return the intersection over union."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    return shared / (sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)) - shared)


def with_small_objects(scene: Scene) -> Scene:
    """Return the scene with small objects, each at most 1/25 of the image."""
    return replace(scene, objects=tuple(replace(obj, size="small") for obj in scene.objects))


def combinations(scenes: Sequence[Scene]) -> list[Combination]:
    """Return all combinations of the scenes."""
    return sorted({obj.combination for scene in scenes for obj in scene.objects})


def boxes_by_image(scenes: Sequence[Scene], wanted: Combination) -> dict[str, list[Box]]:
    """Return the file name of each image with such an object, and its boxes."""
    found: dict[str, list[Box]] = {}
    for index, scene in enumerate(scenes):
        for obj, box in zip(scene.objects, object_boxes(scene), strict=True):
            if obj.combination == wanted:
                found.setdefault(name_of(index), []).append(box)
    return found


def name_of(index: int) -> str:
    """Return the file name of a scene."""
    return f"{index:04}.jpg"


def score(hits: Sequence[Hit], truth: dict[str, list[Box]]) -> dict[str, float]:
    """Return the metrics of one search."""
    names = [Path(hit.source).name for hit in hits]
    boxed = [hit.locator.box for hit in (hits[0], *hits[0].grouped_hits) if hit.locator.box]
    shown = boxed[0] if boxed else (0.0, 0.0, 1.0, 1.0)
    return {
        "first hit is right (P@1)": float(names[0] in truth),
        "R-precision (as many hits as matches)": len(truth.keys() & set(names[: len(truth)])) / len(truth),
        "recall among the first 5 (recall@5)": len(truth.keys() & set(names[:5])) / min(len(truth), 5),
        "box of the first hit is right (IoU 0.5)": float(
            any(overlap(shown, box) >= 0.5 for box in truth.get(names[0], ()))
        ),
    }


def measure(folder: Path, detect: str | None, scenes: Sequence[Scene]) -> dict[str, float]:
    """Index the folder, search it, and return the metrics."""
    rng = random.Random("phrases")
    with FlorenceRAG.open(folder.parent / f"{detect}.db", TINY, detector=detect, ocr="never") as rag:
        start = time.perf_counter()
        rag.add(folder)
        elapsed_ms = 1000 * (time.perf_counter() - start) / len(scenes)
        scores = []
        for color, name in combinations(scenes):
            hits = rag.search(a(phrase(rng, (name, color))), k=50)
            scores.append(score(hits, boxes_by_image(scenes, (color, name))))
        means = {key: sum(each[key] for each in scores) / len(scores) for key in scores[0]}
        means |= {
            "two objects in a relation: first hit is right (P@1)": _first_is_right(rag, relations(scenes)),
            "whole captions: first hit is right (P@1)": _first_is_right(rag, captions(scenes)),
        }
        return {**means, "searches": len(scores), "chunks": sum(rag.info().chunks.values()), "ms per image": elapsed_ms}


def relations(scenes: Sequence[Scene]) -> list[tuple[str, set[str]]]:
    """Return queries for two objects in a relation, which no region shows, with the matching images."""
    rng = random.Random("relations")
    statements = [sample_statement(scene, rng, holds=True) for scene in scenes]
    return [
        (statement_text(statement, rng), {name_of(i) for i, scene in enumerate(scenes) if statement.holds(scene)})
        for statement in statements
        if statement.relation
    ]


def captions(scenes: Sequence[Scene]) -> list[tuple[str, set[str]]]:
    """Return queries for whole scenes, with the matching images."""
    rng = random.Random("captions")
    described = [canonical_caption(scene) for scene in scenes]
    return [
        (caption(scene, rng), {name_of(i) for i, other in enumerate(described) if other == own})
        for scene, own in zip(scenes, described, strict=True)
    ]


def _first_is_right(rag: FlorenceRAG, searches: Sequence[tuple[str, set[str]]]) -> float:
    right = [Path(rag.search(text, k=1)[0].source).name in names for text, names in searches]
    return sum(right) / len(right)


def table(metrics: dict[str, dict[str, float]]) -> Table:
    """Return a table with a column for each setting."""
    table = Table("", *metrics)
    for name in next(iter(metrics.values())):
        digits = 3 if "(" in name else 0
        table.add_row(name, *(f"{column[name]:.{digits}f}" for column in metrics.values()))
    return table


def main(
    scenes: Annotated[int, typer.Option(help="Number of images.")] = 200,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the metrics here.")] = None,
) -> None:
    """Measure, and print a table."""
    quiet_libraries()
    rng = random.Random("regions benchmark")
    streets = [with_small_objects(sample_scene(rng, "any")) for _ in range(scenes)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "streets"
        folder.mkdir()
        for index, scene in enumerate(streets):
            draw_scene(scene).save(folder / name_of(index), quality=90)
        metrics = {setting: measure(folder, detect, streets) for setting, detect in SETTINGS.items()}
    Console().print(table(metrics))
    if json_file is not None:
        json_file.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
