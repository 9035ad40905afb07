"""Searches with a negative part on held-out synthetic scenes: does the unwanted object stay out of the first five hits?

python benchmarks/query.py [--scenes 500] [--json FILE]

A query asks for an object in a color, and for no object of other categories: "a red bus", unlike "a dog". It is right
for a scene that shows the first and none of the others. The ways to treat negative parts are compared on the same
vectors: none at all, a difference of vectors as `search` computes it, and the probability of relevance times that the
negative part is not relevant.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from florence_rag import FlorenceRAG, Query, QueryPart
from florence_rag.cli.logging_setup import quiet_libraries
from florence_rag.models.registry import TINY
from recipes.florence_tiny.synthetic.drawing import draw_scene
from recipes.florence_tiny.synthetic.scene import CATEGORIES, SEEN, Scene, sample_scene

QUERIES, TOP, BINS = 60, 5, 10
Search = Callable[[FlorenceRAG, "Task"], tuple[list[str], list[float]]]


@dataclass(frozen=True, slots=True)
class Task:
    """A wanted object in its color, and unwanted categories."""

    color: str
    category: str
    unwanted: tuple[str, ...]

    @property
    def text(self) -> str:
        return f"a {self.color} {self.category}"

    @property
    def parts(self) -> list[QueryPart]:
        return [QueryPart(self.text), *(QueryPart(f"a {name}", weight=-1) for name in self.unwanted)]

    def is_right(self, scene: Scene) -> bool:
        return any(obj.combination == (self.color, self.category) for obj in scene.objects) and not self.spoils(scene)

    def spoils(self, scene: Scene) -> bool:
        return any(obj.category in self.unwanted for obj in scene.objects)


def tasks(scenes: Sequence[Scene], unwanted: int) -> Iterator[Task]:
    """Yield tasks that at least five scenes answer."""
    rng = random.Random(f"tasks {unwanted}")
    count = 0
    while count < QUERIES:
        color, category = rng.choice(SEEN)
        others = rng.sample([name for name in CATEGORIES if name != category], unwanted)
        task = Task(color, category, tuple(others))
        if sum(map(task.is_right, scenes)) >= TOP:
            count += 1
            yield task


def ignored(rag: FlorenceRAG, task: Task) -> tuple[list[str], list[float]]:
    """Search without the negative parts."""
    hits = rag.search(task.text, k=TOP, group=False)
    return [hit.id for hit in hits], [hit.relevance or 0.0 for hit in hits]


def difference(rag: FlorenceRAG, task: Task) -> tuple[list[str], list[float]]:
    """Search as `search` does."""
    hits = rag.search(Query(task.parts), k=TOP, group=False)
    return [hit.id for hit in hits], [hit.relevance or 0.0 for hit in hits]


@cache
def relevance_of_all(rag: FlorenceRAG, text: str) -> dict[str, float]:
    """Return the relevance of each scene to a text, by id."""
    hits = rag.search(text, k=rag.info().chunks["image"], group=False)
    return {hit.id: hit.relevance or 0.0 for hit in hits}


def probability(rag: FlorenceRAG, task: Task) -> tuple[list[str], list[float]]:
    """Multiply the relevance of each scene by the probabilities that the negative parts are not relevant."""
    relevance = dict(relevance_of_all(rag, task.text))
    for name in task.unwanted:
        for id, unwanted in relevance_of_all(rag, f"a {name}").items():
            relevance[id] *= 1 - unwanted
    best = sorted(relevance, key=relevance.__getitem__, reverse=True)[:TOP]
    return best, [relevance[id] for id in best]


WAYS: dict[str, Search] = {
    "negative part ignored": ignored,
    "difference of vectors": difference,
    "difference of probabilities": probability,
}


def measure(rag: FlorenceRAG, scenes: Sequence[Scene], unwanted: int, search: Search) -> dict[str, float]:
    """Return the shares of right and of spoiled hits, of queries with no spoiled one, and the calibration error."""
    rows, stated, right = [], [], []
    for task in tasks(scenes, unwanted):
        ids, relevance = search(rag, task)
        found = [scenes[int(id)] for id in ids]
        fits, spoiled = [task.is_right(scene) for scene in found], [task.spoils(scene) for scene in found]
        rows.append((np.mean(fits), np.mean(spoiled), not any(spoiled)))
        stated += relevance
        right += fits
    names = ("right", "unwanted", "queries without an unwanted hit")
    metrics = dict(zip(names, np.mean(rows, axis=0).tolist(), strict=True))
    return {**metrics, "calibration error": calibration_error(np.array(stated), np.array(right, dtype=float))}


def calibration_error(stated: np.ndarray, right: np.ndarray) -> float:
    """Return the mean difference between stated and observed relevance in bins of equal size."""
    bins = np.array_split(np.argsort(stated), BINS)
    return float(sum(len(rows) * abs(stated[rows].mean() - right[rows].mean()) for rows in bins) / len(stated))


def main(
    scenes: Annotated[int, typer.Option(help="Scenes to choose from.")] = 500,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the metrics here.")] = None,
) -> None:
    """Measure, and print a table."""
    quiet_libraries()
    rng = random.Random("query benchmark")
    streets = [sample_scene(rng, "seen") for _ in range(scenes)]
    with (
        tempfile.TemporaryDirectory() as folder,
        FlorenceRAG.open(Path(folder) / "town.db", TINY, ocr="never") as rag,
    ):
        images = [draw_scene(scene, (448, 336)) for scene in streets]
        rag.items.upsert_images(images, ids=[f"{i:05}" for i in range(scenes)])
        metrics = {
            f"{count} unwanted, {name}": measure(rag, streets, count, search)
            for count in (1, 2, 3)
            for name, search in WAYS.items()
        }
    table = Table("", *next(iter(metrics.values())))
    for name, row in metrics.items():
        table.add_row(name, *(f"{value:.3f}" for value in row.values()))
    Console(width=150).print(table)
    if json_file is not None:
        json_file.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
