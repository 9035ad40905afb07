"""Precision of recommendations from liked and disliked synthetic scenes.

python benchmarks/recommend.py [--scenes 600] [--json FILE]

A taste consists of two liked categories (in any color), such as buses and dogs, and a disliked one. A scene matches it
if it shows a liked category and not the disliked one. The metric is the share of matching scenes among the first ten,
for all pairs of categories, next to the share by chance.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from florence_rag import FlorenceRAG, Hit
from florence_rag.cli.logging_setup import quiet_libraries
from florence_rag.models.registry import TINY
from recipes.florence_tiny.synthetic.drawing import draw_scene
from recipes.florence_tiny.synthetic.scene import CATEGORIES, Scene, sample_scene

K = 10
Taste = tuple[str, str, str]
"""Two liked categories and a disliked one."""


def shows(scene: Scene, category: str) -> bool:
    """Return whether a scene shows a category."""
    return any(obj.category == category for obj in scene.objects)


def is_right(scene: Scene, taste: Taste) -> bool:
    """Return whether a scene matches a taste."""
    return any(shows(scene, category) for category in taste[:2]) and not shows(scene, taste[2])


def tastes(rng: random.Random) -> Iterator[Taste]:
    """Yield all pairs of categories, each with another one that is disliked."""
    for one, other in combinations(CATEGORIES, 2):
        yield one, other, rng.choice([category for category in CATEGORIES if category not in (one, other)])


def examples(rng: random.Random, scenes: Sequence[Scene], category: str, without: Sequence[str], n: int) -> list[int]:
    """Sample scenes that show a category and none of the others."""
    fit = [i for i, scene in enumerate(scenes) if shows(scene, category) and not any(shows(scene, o) for o in without)]
    return rng.sample(fit, min(n, len(fit)))


def variety(rag: FlorenceRAG, hits: Sequence[Hit]) -> float:
    """Return 1 minus the mean cosine between the hits."""
    vectors = rag.index.vectors([hit.id for hit in hits])
    pairs = vectors @ vectors.T
    return float(1 - pairs[~np.eye(len(hits), dtype=bool)].mean())


def measure(
    rag: FlorenceRAG, ids: Sequence[str], scenes: Sequence[Scene], *, liked: int, dislikes: int, diversity: float
) -> dict[str, float]:
    """Over all tastes: right among the first ten, with the disliked thing, by chance, how varied, and how long."""
    rng = random.Random("tastes")
    number = {id: i for i, id in enumerate(ids)}
    rows = []
    for taste in tastes(random.Random("dislikes")):
        one, other, bad = taste
        like = [ids[i] for category in (one, other) for i in examples(rng, scenes, category, [bad], liked)]
        dislike = [ids[i] for i in examples(rng, scenes, bad, [one, other], dislikes)]
        start = time.perf_counter()
        hits = rag.recommend(like, dislike, K, diversity=diversity)
        spent_ms = 1000 * (time.perf_counter() - start)
        found = [scenes[number[hit.id]] for hit in hits]
        right = float(np.mean([is_right(scene, taste) for scene in found]))
        disliked = float(np.mean([shows(scene, bad) for scene in found]))
        chance = float(np.mean([is_right(scene, taste) for scene in scenes]))
        rows.append((right, disliked, chance, variety(rag, hits), spent_ms))
    names = ("right", "disliked", "right by chance", "variety", "ms")
    return dict(zip(names, np.mean(rows, axis=0).tolist(), strict=True))


WAYS: dict[str, dict[str, float]] = {
    "3 liked of each, none disliked": {"liked": 3, "dislikes": 0, "diversity": 0.0},
    "and 3 disliked": {"liked": 3, "dislikes": 3, "diversity": 0.0},
    "and diversity 0.3": {"liked": 3, "dislikes": 3, "diversity": 0.3},
    "and diversity 0.6": {"liked": 3, "dislikes": 3, "diversity": 0.6},
}


def main(
    scenes: Annotated[int, typer.Option(help="Streets to choose from.")] = 600,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the metrics here.")] = None,
) -> None:
    """Measure, and print a table."""
    quiet_libraries()
    rng = random.Random("recommend benchmark")
    streets = [sample_scene(rng, "any") for _ in range(scenes)]
    with (
        tempfile.TemporaryDirectory() as folder,
        FlorenceRAG.open(Path(folder) / "town.db", TINY, ocr="never") as rag,
    ):
        ids = rag.items.upsert_images(
            [draw_scene(scene, (320, 240)) for scene in streets], ids=[f"{i:05}" for i in range(scenes)]
        )
        metrics = {name: measure(rag, ids, streets, **way) for name, way in WAYS.items()}  # type: ignore[arg-type]
    table = Table("", *next(iter(metrics.values())))
    for name, row in metrics.items():
        table.add_row(name, *(f"{value:.{0 if column == 'ms' else 3}f}" for column, value in row.items()))
    Console().print(table)
    if json_file is not None:
        json_file.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
