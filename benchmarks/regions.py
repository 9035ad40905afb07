"""What regions add: searches for small things in drawn streets, with whole pictures alone and with their regions.

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

WAYS = {"whole pictures": None, "with regions": TINY}


def overlap(one: Box, other: Box) -> float:
    """Intersection over union."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    return shared / (sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)) - shared)


def with_small_things(scene: Scene) -> Scene:
    """The same street; nothing in it covers more than a twenty-fifth of the picture."""
    return replace(scene, objects=tuple(replace(thing, size="small") for thing in scene.objects))


def combinations(scenes: Sequence[Scene]) -> list[Combination]:
    """All that can be searched for."""
    return sorted({thing.combination for scene in scenes for thing in scene.objects})


def places(scenes: Sequence[Scene], wanted: Combination) -> dict[str, list[Box]]:
    """Name of each picture with the thing, and where in it."""
    found: dict[str, list[Box]] = {}
    for index, scene in enumerate(scenes):
        for thing, box in zip(scene.objects, object_boxes(scene), strict=True):
            if thing.combination == wanted:
                found.setdefault(name_of(index), []).append(box)
    return found


def name_of(index: int) -> str:
    """Of the file of a scene."""
    return f"{index:04}.jpg"


def judge(hits: Sequence[Hit], truth: dict[str, list[Box]]) -> dict[str, float]:
    """Of one search."""
    names = [Path(hit.source).name for hit in hits]
    boxed = [hit.locator.box for hit in (hits[0], *hits[0].grouped_hits) if hit.locator.box]
    shown = boxed[0] if boxed else (0.0, 0.0, 1.0, 1.0)
    return {
        "first is right (P@1)": float(names[0] in truth),
        "found among as many as there are (R-precision)": len(truth.keys() & set(names[: len(truth)])) / len(truth),
        "found among the first 5 (recall@5)": len(truth.keys() & set(names[:5])) / min(len(truth), 5),
        "first has its box around the thing (IoU 0.5)": float(
            any(overlap(shown, box) >= 0.5 for box in truth.get(names[0], ()))
        ),
    }


def measure(folder: Path, detect: str | None, scenes: Sequence[Scene]) -> dict[str, float]:
    """Index the folder in one way, and search it."""
    rng = random.Random("phrases")
    with FlorenceRAG.open(folder.parent / f"{detect}.db", TINY, detector=detect, ocr="never") as rag:
        start = time.perf_counter()
        rag.add(folder)
        spent_ms = 1000 * (time.perf_counter() - start) / len(scenes)
        judged = []
        for color, name in combinations(scenes):
            hits = rag.search(a(phrase(rng, (name, color))), k=50)
            judged.append(judge(hits, places(scenes, (color, name))))
        means = {key: sum(each[key] for each in judged) / len(judged) for key in judged[0]}
        means |= {
            "of two things side by side the first is right (P@1)": _first_is_right(rag, relations(scenes)),
            "of whole captions the first is right (P@1)": _first_is_right(rag, captions(scenes)),
        }
        return {**means, "searches": len(judged), "chunks": sum(rag.info().chunks.values()), "ms a picture": spent_ms}


def relations(scenes: Sequence[Scene]) -> list[tuple[str, set[str]]]:
    """Searches for two things and how they stand, with the names of the pictures that fit: no region shows both."""
    rng = random.Random("relations")
    claims = [sample_statement(scene, rng, holds=True) for scene in scenes]
    return [
        (statement_text(claim, rng), {name_of(i) for i, scene in enumerate(scenes) if claim.holds(scene)})
        for claim in claims
        if claim.relation
    ]


def captions(scenes: Sequence[Scene]) -> list[tuple[str, set[str]]]:
    """Descriptions of whole pictures."""
    rng = random.Random("captions")
    described = [canonical_caption(scene) for scene in scenes]
    return [
        (caption(scene, rng), {name_of(i) for i, other in enumerate(described) if other == own})
        for scene, own in zip(scenes, described, strict=True)
    ]


def _first_is_right(rag: FlorenceRAG, searches: Sequence[tuple[str, set[str]]]) -> float:
    right = [Path(rag.search(text, k=1)[0].source).name in names for text, names in searches]
    return sum(right) / len(right)


def table(figures: dict[str, dict[str, float]]) -> Table:
    """A column for each way."""
    drawn = Table("", *figures)
    for name in next(iter(figures.values())):
        digits = 3 if "(" in name else 0
        drawn.add_row(name, *(f"{column[name]:.{digits}f}" for column in figures.values()))
    return drawn


def main(
    scenes: Annotated[int, typer.Option(help="Pictures to search.")] = 200,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the figures here.")] = None,
) -> None:
    """Measure and print."""
    quiet_libraries()
    rng = random.Random("regions benchmark")
    streets = [with_small_things(sample_scene(rng, "any")) for _ in range(scenes)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "streets"
        folder.mkdir()
        for index, scene in enumerate(streets):
            draw_scene(scene).save(folder / name_of(index), quality=90)
        figures = {way: measure(folder, detect, streets) for way, detect in WAYS.items()}
    Console().print(table(figures))
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
