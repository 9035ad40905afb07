"""Time that the answer cache saves, and its agreement with the model, on repeated questions about synthetic scenes.

python benchmarks/answer_cache.py [--scenes 20] [--asked 10] [--json FILE]

Every scene gets questions of all types. Each question is asked three times, in random order: as it is; in lower
case and without punctuation; and about the same image scaled down and compressed again. Every cached answer is compared
with the answer of METER to the same wording and image.
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
from florence_rag.models.registry import TINY
from florence_rag.tasks.answer_cache import CachedVQA
from florence_rag.types import Frame
from recipes.florence_tiny.synthetic.drawing import draw_scene
from recipes.florence_tiny.synthetic.questions import questions
from recipes.florence_tiny.synthetic.scene import sample_scene


def compressed(image: Image.Image) -> Frame:
    """Return the image at three quarters of its size, after JPEG compression."""
    file = io.BytesIO()
    size = (image.width * 3 // 4, image.height * 3 // 4)
    image.resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=85)
    return np.asarray(Image.open(file))


def sample_questions(rng: random.Random, scenes: int, asked: int) -> list[tuple[Frame, str]]:
    """Return images and questions in random order."""
    pairs: list[tuple[Frame, str]] = []
    for _ in range(scenes):
        scene = sample_scene(rng, "any")
        image = draw_scene(scene)
        variants = (np.asarray(image), compressed(image))
        for question in questions(scene, rng, asked):
            lower_case = question.text.lower().rstrip("?.").replace("colour", "color")
            pairs += [(variants[0], question.text), (variants[0], lower_case), (variants[1], question.text)]
    rng.shuffle(pairs)
    return pairs


def measure(rag: FlorenceRAG, pairs: list[tuple[Frame, str]]) -> dict[str, Any]:
    """Ask all questions, with the cache and directly."""
    lazy_vqa = rag.models.require_vqa()
    vqa = lazy_vqa.get()
    cached_vqa = CachedVQA(lazy_vqa, rag.index.answer_store(), rag.models.embedder, TINY)  # type: ignore[attr-defined]
    spent: dict[str, list[float]] = {"direct": [], "same image": [], "similar image": [], "not cached": []}
    agree = 0
    for frame, question in pairs:
        start = time.perf_counter()
        cached = cached_vqa.answer(frame, question)
        cached_at = time.perf_counter()
        direct = vqa.answer(frame, question)
        spent["direct"].append(time.perf_counter() - cached_at)
        way = "similar image" if "near-duplicate" in cached.cached_from else "same image"
        spent[way if cached.cached_from else "not cached"].append(cached_at - start)
        agree += bool(cached.cached_from) and cached.answer == direct.answer
    known = spent["same image"] + spent["similar image"]
    hits, total = len(known), len(pairs)
    ms = {name: 1000 * float(np.mean(times)) if times else 0.0 for name, times in spent.items()}
    return {
        "questions": total,
        "answered from the cache": hits / total,
        "of these equal to METER": agree / max(hits, 1),
        "ms directly": ms["direct"],
        "ms from the cache, same image": ms["same image"],
        "ms from the cache, similar image": ms["similar image"],
        "ms if not cached": ms["not cached"],
        "speed-up, same image": ms["direct"] / max(ms["same image"], 1e-9),
        "speed-up, similar image": ms["direct"] / max(ms["similar image"], 1e-9),
    }


def main(
    scenes: Annotated[int, typer.Option(help="Number of scenes.")] = 20,
    asked: Annotated[int, typer.Option(help="Questions per scene.")] = 10,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the metrics here.")] = None,
) -> None:
    """Measure, and print a table."""
    quiet_libraries()
    pairs = sample_questions(random.Random("memory benchmark"), scenes, asked)
    with tempfile.TemporaryDirectory() as folder, FlorenceRAG.open(Path(folder) / "town.db", TINY) as rag:
        metrics = measure(rag, pairs)
    for name, value in metrics.items():
        Console().print(f"{name:40} {value:.3f}" if isinstance(value, float) else f"{name:40} {value}")
    if json_file is not None:
        json_file.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
