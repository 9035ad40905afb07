"""How many errors of the dual encoder a reranker that sees the images repairs, on scenes with hard negatives.

python benchmarks/reranking.py [--scenes 500] [--queries 100] [--reranker florence-tiny] [--json FILE]

Each held-out scene has two siblings: one in which two objects have exchanged their colors, and its mirror image. A
query says how two objects stand to each other, "a red car to the left of a blue bus", which holds for a scene and not
for its siblings. The first hit is right if the query holds for it. Budgets are in milliseconds, on one thread.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from florence_rag import FlorenceRAG, RetrievalConfig
from florence_rag.cli.logging_setup import quiet_libraries
from florence_rag.loading.loaders import RERANKER
from florence_rag.loading.model_loader import load_model
from florence_rag.models.registry import TINY
from florence_rag.retrieval.retriever import Retriever
from recipes.florence_tiny.synthetic.drawing import draw_scene
from recipes.florence_tiny.synthetic.scene import SLOTS, Scene, SceneObject, sample_scene
from recipes.florence_tiny.synthetic.statements import Statement, statement_text

Family = tuple[Scene, Scene, Scene]
Task = tuple[str, Statement]


def families(rng: random.Random) -> Iterator[tuple[Family, SceneObject, SceneObject]]:
    """Yield scenes with their siblings, and the two objects that tell them apart."""
    while True:
        scene = sample_scene(rng, "any")
        pairs = [
            (left, right)
            for left in scene.objects
            for right in scene.objects
            if left.slot < right.slot and left.category != right.category and left.color != right.color
        ]
        if pairs:
            left, right = rng.choice(pairs)
            yield (scene, exchanged(scene, left, right), mirrored(scene)), left, right


def exchanged(scene: Scene, one: SceneObject, other: SceneObject) -> Scene:
    """Return the scene with the colors of two objects exchanged."""
    colors = {one.slot: other.color, other.slot: one.color}
    return replace(scene, objects=tuple(replace(obj, color=colors.get(obj.slot, obj.color)) for obj in scene.objects))


def mirrored(scene: Scene) -> Scene:
    """Return the scene with left and right exchanged."""
    return replace(scene, objects=tuple(replace(obj, slot=SLOTS - 1 - obj.slot) for obj in reversed(scene.objects)))


def make(count: int, queries: int) -> tuple[list[Scene], list[Task]]:
    """Return scenes, and queries that hold for a scene and for neither of its siblings."""
    rng = random.Random("reranking benchmark")
    scenes, tasks = [], []
    for family, left, right in islice(families(rng), -(-count // 3)):
        scenes += family
        for number, scene in enumerate(family):
            one, other = (left.color, right.color) if number != 1 else (right.color, left.color)
            statement = Statement((left.category, one), "left of", (right.category, other))
            if number == 2:
                statement = Statement((left.category, one), "right of", (right.category, other))
            if [statement.holds(each) for each in family] == [each is scene for each in family]:
                tasks.append((statement_text(statement, rng), statement))
    return scenes[:count], rng.sample(tasks, min(queries, len(tasks)))


def measure(retriever: Retriever, scenes: Sequence[Scene], tasks: Sequence[Task]) -> dict[str, float]:
    """Return the share of right first hits, and the milliseconds of a search."""
    right, spent = [], []
    for text, statement in tasks:
        start = time.perf_counter()
        (best,) = retriever.search(text, k=1, group=False)
        spent.append(1000 * (time.perf_counter() - start))
        right.append(statement.holds(scenes[int(best.id)]))
    return {
        "R@1": float(np.mean(right)),
        "ms, median": float(np.median(spent)),
        "ms, p95": float(np.quantile(spent, 0.95)),
    }


def main(
    scenes: Annotated[int, typer.Option(help="Scenes to choose from.")] = 500,
    queries: Annotated[int, typer.Option(help="Queries.")] = 100,
    reranker: Annotated[str, typer.Option(help="The model that reranks.")] = TINY,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the metrics here.")] = None,
) -> None:
    """Measure, and print a table."""
    quiet_libraries()
    torch.set_num_threads(1)
    streets, tasks = make(scenes, queries)
    with (
        tempfile.TemporaryDirectory() as folder,
        FlorenceRAG.open(Path(folder) / "town.db", TINY, ocr="never") as rag,
    ):
        for start in range(0, scenes, 100):
            images = [draw_scene(scene, (448, 336)) for scene in streets[start : start + 100]]
            rag.items.upsert_images(images, ids=[f"{start + i:05}" for i in range(len(images))])
        metrics = {"dual encoder": measure(rag.retriever, streets, tasks)}
        rag.models.reranker = load_model(RERANKER, reranker)
        for name, config in WAYS.items():
            metrics[name] = measure(Retriever(rag.context, config), streets, tasks)
    base = metrics["dual encoder"]["R@1"]
    for row in metrics.values():
        row["errors repaired"] = (row["R@1"] - base) / (1 - base)
    table = Table("", *next(iter(metrics.values())))
    for name, row in metrics.items():
        table.add_row(name, *(f"{value:.{0 if 'ms' in column else 3}f}" for column, value in row.items()))
    Console(width=150).print(table)
    if json_file is not None:
        json_file.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")


WAYS = {
    "first 20 reranked": RetrievalConfig(),
    "first 10 reranked": RetrievalConfig(rerank_depth=10),
    "reranked for 200 ms": RetrievalConfig(rerank_budget_ms=200.0),
}


if __name__ == "__main__":
    typer.run(main)
