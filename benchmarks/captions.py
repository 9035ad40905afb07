"""How accurate the captions of florence-tiny are, and how much they improve text search, on held-out synthetic scenes.

python benchmarks/captions.py [--captioner NAME_OR_FOLDER] [--scenes 200] [--json FILE]
"""

from __future__ import annotations

import json
import random
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import torch
import typer
from rich.console import Console
from rich.table import Table

from florence_rag import FlorenceRAG
from florence_rag.chunking import read_image
from florence_rag.cli.logging_setup import quiet_libraries
from florence_rag.loading.loaders import CAPTIONER
from florence_rag.loading.model_loader import load_model
from florence_rag.loading.model_options import ModelOptions
from florence_rag.models.registry import TINY
from florence_rag.perception.scene_captions import RELATIONS, object_phrase
from florence_rag.types import Hit
from recipes.florence_tiny.synthetic.captions import canonical_caption, caption
from recipes.florence_tiny.synthetic.drawing import draw_scene
from recipes.florence_tiny.synthetic.scene import COMBINATIONS, Combination, Scene, sample_scene
from recipes.florence_tiny.synthetic.statements import Statement
from recipes.florence_tiny.synthetic.vocabulary import ANSWER_NAMES

SIZE = (640, 480)
GROUPS: dict[str, Literal["any", "held-out"]] = {
    "all combinations": "any",
    "with a combination never trained on": "held-out",
}
NAMES: dict[str, Combination] = {
    object_phrase(ANSWER_NAMES[name], color): (color, name) for color, name in COMBINATIONS
}
"""The combination that each noun phrase of a caption names."""


_RELATION = re.compile("|".join(f" {relation} " for relation in RELATIONS))


def parse_caption(text: str) -> tuple[Counter[Combination], list[Statement]]:
    """Return the objects of a caption with their counts, and its statements about their relations."""
    things: Counter[Combination] = Counter()
    statements = []
    for part in re.split(", and |, ", text):
        mentioned = [NAMES[words] for words in _RELATION.sub("|", part).split("|") if words in NAMES]
        things.update(mentioned)
        if (found := _RELATION.search(part)) and len(mentioned) == 2:
            one, other = ((name, color) for color, name in mentioned)
            statements.append(Statement(one, "next to" if "next to" in found[0] else "left of", other))
    return things, statements


def truth(scenes: Sequence[Scene], captions: Sequence[str]) -> dict[str, float]:
    """Return recall and precision of the objects in captions, and the precision of their relations."""
    truths = [Counter(obj.combination for obj in scene.objects) for scene in scenes]
    parsed = [parse_caption(text) for text in captions]
    right = sum((things & true).total() for (things, _), true in zip(parsed, truths, strict=True))
    relations = [
        statement.holds(scene)
        for (_, statements), scene in zip(parsed, scenes, strict=True)
        for statement in statements
    ]
    return {
        "true pairs that are named (recall)": right / sum(true.total() for true in truths),
        "named pairs that are true (precision)": right / max(1, sum(things.total() for things, _ in parsed)),
        "named relations that hold (precision)": sum(relations) / max(1, len(relations)),
        "relations named": len(relations),
    }


def search_metrics(folder: Path, describe: str, scenes: Sequence[Scene]) -> dict[str, float]:
    """Return how often the first hit for the description of a scene shows this scene or an equal one."""
    rng = random.Random("descriptions")
    same = [canonical_caption(scene) for scene in scenes]
    queries = [caption(scene, rng) for scene in scenes]
    with FlorenceRAG.open(folder.parent / f"{Path(describe).name}.db", TINY, captioner=describe, ocr="never") as rag:
        start = time.process_time()
        rag.add(folder)
        elapsed_ms = 1000 * (time.process_time() - start) / len(scenes)
        ways: dict[str, Callable[[str], list[Hit]]] = {
            "BM25 alone (R@1)": lambda text: rag.index.search_bm25(text, 1),
            "BM25 and image vectors (R@1)": lambda text: rag.search(text, k=1),
        }
        shares = {name: _first_is_right(search, queries, same) for name, search in ways.items()}
    return {**shares, "CPU ms per image, indexing": elapsed_ms}


def _first_is_right(search: Callable[[str], list[Hit]], queries: Sequence[str], same: Sequence[str]) -> float:
    right = [
        any(same[int(Path(hit.source).stem)] == own for hit in search(text)[:1])
        for text, own in zip(queries, same, strict=True)
    ]
    return sum(right) / len(right)


def measure(describe: str, group: str, count: int) -> dict[str, dict[str, float]]:
    """Measure captions, and search with and without them."""
    rng = random.Random(f"captions benchmark {group}")
    scenes = [sample_scene(rng, GROUPS[group]) for _ in range(count)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "streets"
        folder.mkdir()
        for index, scene in enumerate(scenes):
            draw_scene(scene, SIZE).save(folder / f"{index:04}.jpg", quality=90)
        frames = [read_image(path) for path in sorted(folder.iterdir())]
        captioner = load_model(CAPTIONER, describe, ModelOptions(offline=True))
        captioner.caption(frames[:2])
        start = time.process_time()
        captions = captioner.caption(frames)
        elapsed_ms = 1000 * (time.process_time() - start) / count
        without = search_metrics(folder, "never", scenes)
        described = truth(scenes, captions) | {"CPU ms per image, describing": elapsed_ms}
        return {"without": without, "with": described | search_metrics(folder, describe, scenes)}


def table(metrics: dict[str, dict[str, dict[str, float]]]) -> Table:
    """Return a table with a column for each setting and group."""
    columns = {f"{way} captions, {group}": row for group, ways in metrics.items() for way, row in ways.items()}
    table = Table("", *columns)
    for name in max(columns.values(), key=len):
        digits = 3 if "(" in name else 0
        table.add_row(name, *(f"{row[name]:.{digits}f}" if name in row else "" for row in columns.values()))
    return table


def main(
    captioner: Annotated[str, typer.Option(help="A name of `florence-rag models`, or a folder.")] = TINY,
    scenes: Annotated[int, typer.Option(help="Number of images per group.")] = 200,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the metrics here.")] = None,
) -> None:
    """Measure, and print a table."""
    quiet_libraries()
    torch.set_num_threads(1)
    metrics = {group: measure(captioner, group, scenes) for group in GROUPS}
    Console().print(table(metrics))
    if json_file is not None:
        json_file.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
