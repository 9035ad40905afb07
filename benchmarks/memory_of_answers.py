"""What a memory of answers saves, and whether it answers as the model would: questions about drawn streets, repeated.

python benchmarks/memory_of_answers.py [--scenes 20] [--asked 10] [--json FILE]

Every street is asked so many questions of the drawn world: colours, counts, what is there, what is next to what, left
or right. Each comes three times, in any order: as it is; typed lazily; and about the same street scaled down and
compressed anew. Each answer from memory is held against that of METER to this wording and picture, asked besides.
"""

from __future__ import annotations

import io
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image
from rich.console import Console

from florence_rag import FlorenceRAG
from florence_rag.cli.logging_setup import quiet_libraries
from florence_rag.context import loaded
from florence_rag.models.registry import TINY
from florence_rag.tasks.cached_vqa import CachedVQA
from florence_rag.types import Frame
from recipes.florence_tiny.synthetic.drawing import draw_scene
from recipes.florence_tiny.synthetic.questions import questions
from recipes.florence_tiny.synthetic.scene import sample_scene


def compressed(picture: Image.Image) -> Frame:
    """The same at three quarters of the size, as a JPEG."""
    file = io.BytesIO()
    size = (picture.width * 3 // 4, picture.height * 3 // 4)
    picture.resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=85)
    return np.asarray(Image.open(file))


def stream(rng: random.Random, scenes: int, asked: int) -> list[tuple[Frame, str]]:
    """Pictures and questions, in any order."""
    asks: list[tuple[Frame, str]] = []
    for _ in range(scenes):
        scene = sample_scene(rng, "any")
        picture = draw_scene(scene)
        looks = (np.asarray(picture), compressed(picture))
        for question in questions(scene, rng, asked):
            lazy = question.text.lower().rstrip("?.").replace("colour", "color")
            asks += [(looks[0], question.text), (looks[0], lazy), (looks[1], question.text)]
    rng.shuffle(asks)
    return asks


def measure(rag: FlorenceRAG, asks: list[tuple[Frame, str]]) -> dict[str, Any]:
    """Ask all, with the memory and directly."""
    vqa = rag.models.require_vqa()
    vqa.answer(*asks[0])  # which loads it
    memory = CachedVQA(loaded(vqa), rag.index.answer_store(), rag.models.embedder, TINY)  # type: ignore[attr-defined]
    spent: dict[str, list[float]] = {"direct": [], "same picture": [], "looks the same": [], "asked": []}
    agree = 0
    for frame, question in asks:
        start = time.perf_counter()
        said = memory.answer(frame, question)
        middle = time.perf_counter()
        direct = vqa.answer(frame, question)
        spent["direct"].append(time.perf_counter() - middle)
        way = "looks the same" if "looks the same" in said.remembered else "same picture"
        spent[way if said.remembered else "asked"].append(middle - start)
        agree += bool(said.remembered) and said.answer == direct.answer
    known = spent["same picture"] + spent["looks the same"]
    hits, total = len(known), len(asks)
    ms = {name: 1000 * float(np.mean(times)) if times else 0.0 for name, times in spent.items()}
    return {
        "questions": total,
        "answered from memory": hits / total,
        "of these as METER answers": agree / max(hits, 1),
        "ms directly": ms["direct"],
        "ms from memory, same picture": ms["same picture"],
        "ms from memory, looks the same": ms["looks the same"],
        "ms where it was asked and remembered": ms["asked"],
        "times as fast, same picture": ms["direct"] / max(ms["same picture"], 1e-9),
        "times as fast, looks the same": ms["direct"] / max(ms["looks the same"], 1e-9),
    }


def main(
    scenes: Annotated[int, typer.Option(help="Streets.")] = 20,
    asked: Annotated[int, typer.Option(help="Questions about each.")] = 10,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the figures here.")] = None,
) -> None:
    """Measure and print."""
    quiet_libraries()
    asks = stream(random.Random("memory benchmark"), scenes, asked)
    with tempfile.TemporaryDirectory() as folder, FlorenceRAG.open(Path(folder) / "town.db", TINY) as rag:
        figures = measure(rag, asks)
    for name, value in figures.items():
        Console().print(f"{name:40} {value:.3f}" if isinstance(value, float) else f"{name:40} {value}")
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
