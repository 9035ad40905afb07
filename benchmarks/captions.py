"""How true the captions of florence-tiny are, and what they add to a search by words, on drawn scenes it never saw.

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
from florence_rag.perception.scene_captions import RELATIONS, named
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
NAMES: dict[str, Combination] = {named(ANSWER_NAMES[name], color): (color, name) for color, name in COMBINATIONS}
"""What a caption calls each combination."""


_RELATION = re.compile("|".join(f" {relation} " for relation in RELATIONS))


def told(text: str) -> tuple[Counter[Combination], list[Statement]]:
    """What a caption says there is, each thing with its colour, and how things stand."""
    things: Counter[Combination] = Counter()
    claims = []
    for part in re.split(", and |, ", text):
        named_here = [NAMES[words] for words in _RELATION.sub("|", part).split("|") if words in NAMES]
        things.update(named_here)
        if (found := _RELATION.search(part)) and len(named_here) == 2:
            one, other = ((name, color) for color, name in named_here)
            claims.append(Statement(one, "next to" if "next to" in found[0] else "left of", other))
    return things, claims


def truth(scenes: Sequence[Scene], captions: Sequence[str]) -> dict[str, float]:
    """How much of what is there is told, and how much of what is told is there."""
    there = [Counter(thing.combination for thing in scene.objects) for scene in scenes]
    said = [told(text) for text in captions]
    right = sum((things & true).total() for (things, _), true in zip(said, there, strict=True))
    relations = [claim.holds(scene) for (_, claims), scene in zip(said, scenes, strict=True) for claim in claims]
    return {
        "true pairs that are named (recall)": right / sum(true.total() for true in there),
        "named pairs that are true (precision)": right / max(1, sum(things.total() for things, _ in said)),
        "named relations that hold (precision)": sum(relations) / max(1, len(relations)),
        "relations named": len(relations),
    }


def searched(folder: Path, describe: str, scenes: Sequence[Scene]) -> dict[str, float]:
    """Whether the first hit for a scene's own description is it, or one that shows the same."""
    rng = random.Random("descriptions")
    same = [canonical_caption(scene) for scene in scenes]
    queries = [caption(scene, rng) for scene in scenes]
    with FlorenceRAG.open(folder.parent / f"{Path(describe).name}.db", TINY, captioner=describe, ocr="never") as rag:
        start = time.process_time()
        rag.add(folder)
        spent_ms = 1000 * (time.process_time() - start) / len(scenes)
        ways: dict[str, Callable[[str], list[Hit]]] = {
            "by words alone, BM25 (R@1)": lambda text: rag.index.search_bm25(text, 1),
            "by words and looks (R@1)": lambda text: rag.search(text, k=1),
        }
        shares = {name: _first_is_right(search, queries, same) for name, search in ways.items()}
    return {**shares, "CPU ms a picture, indexing": spent_ms}


def _first_is_right(search: Callable[[str], list[Hit]], queries: Sequence[str], same: Sequence[str]) -> float:
    right = [
        any(same[int(Path(hit.source).stem)] == own for hit in search(text)[:1])
        for text, own in zip(queries, same, strict=True)
    ]
    return sum(right) / len(right)


def measure(describe: str, group: str, count: int) -> dict[str, dict[str, float]]:
    """Draw, describe, judge, index without and with captions, search."""
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
        spent_ms = 1000 * (time.process_time() - start) / count
        without = searched(folder, "never", scenes)
        described = truth(scenes, captions) | {"CPU ms a picture, describing": spent_ms}
        return {"without": without, "with": described | searched(folder, describe, scenes)}


def table(figures: dict[str, dict[str, dict[str, float]]]) -> Table:
    """A column for each way and group."""
    columns = {f"{way} captions, {group}": row for group, ways in figures.items() for way, row in ways.items()}
    drawn = Table("", *columns)
    for name in max(columns.values(), key=len):
        digits = 3 if "(" in name else 0
        drawn.add_row(name, *(f"{row[name]:.{digits}f}" if name in row else "" for row in columns.values()))
    return drawn


def main(
    captioner: Annotated[str, typer.Option(help="A name of `florence-rag models`, or a folder.")] = TINY,
    scenes: Annotated[int, typer.Option(help="Pictures of each group.")] = 200,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the figures here.")] = None,
) -> None:
    """Measure and print."""
    quiet_libraries()
    torch.set_num_threads(1)
    figures = {group: measure(captioner, group, scenes) for group in GROUPS}
    Console().print(table(figures))
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
