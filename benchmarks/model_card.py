"""Measures florence-tiny on drawn scenes it never saw and writes docs/model_card.md.

python benchmarks/model_card.py [--model NAME_OR_FOLDER] [--scenes 500]
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer
from rich.progress import track

from benchmarks.actions import figures_of
from benchmarks.detector import ALMOST_ALL, photograph, score, truth_of
from florence_rag.embedding.florence import FlorenceEmbedder
from florence_rag.models.registry import TINY, find_model
from florence_rag.perception.actions import VideoCoSwinRecognizer
from florence_rag.perception.detector import DyHeadDetector
from florence_rag.perception.meter import MeterMatcher, MeterVQA, load_meter
from florence_rag.types import Frame
from recipes.florence_tiny.synthetic.captions import canonical_caption, caption
from recipes.florence_tiny.synthetic.questions import questions
from recipes.florence_tiny.synthetic.scene import HELD_OUT, Scene, sample_scene
from recipes.florence_tiny.synthetic.statements import sample_statement, statement_text

Combinations = Literal["any", "held-out"]
TITLES: dict[Combinations, str] = {
    "any": "all combinations of colour and object",
    "held-out": "at least one combination never seen in training in each scene",
}
QUESTIONS_PER_SCENE = 5


def distinct_scenes(count: int, combinations: Combinations, rng: random.Random) -> list[Scene]:
    """Scenes that differ in what a caption is bound to say: colours and objects from left to right."""
    scenes: dict[str, Scene] = {}
    while len(scenes) < count:
        scene = sample_scene(rng, combinations)
        scenes.setdefault(canonical_caption(scene), scene)
    return list(scenes.values())


def recall(similarity: np.ndarray, k: int) -> float:
    """Share of the rows whose own column is among the k largest."""
    own = np.diagonal(similarity)[:, None]
    return float(((similarity > own).sum(axis=1) < k).mean())


def retrieval_rows(embedder: FlorenceEmbedder, frames: Sequence[Frame], captions: Sequence[str]) -> list[list[str]]:
    """R@1, R@5 and R@10 in both directions."""
    similarity = embedder.embed_texts(captions) @ embedder.embed_images(frames).T
    directions = {"text to image": similarity, "image to text": similarity.T}
    return [[name, *(f"{recall(table, k):.3f}" for k in (1, 5, 10))] for name, table in directions.items()]


def answer_rows(vqa: MeterVQA, scenes: Sequence[Scene], frames: Sequence[Frame], rng: random.Random) -> list[list[str]]:
    """Accuracy for each type of question and over all."""
    asked: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for scene, frame in track(zip(scenes, frames, strict=True), "asking", total=len(scenes)):
        for question in questions(scene, rng, QUESTIONS_PER_SCENE):
            correct = vqa.answer(frame, question.text).answer == question.answer
            for group in (question.type, "overall"):
                asked[group] += 1
                right[group] += correct
    return [[group, f"{right[group] / asked[group]:.3f}", str(asked[group])] for group in sorted(asked)]


def matching_accuracy(
    matcher: MeterMatcher, scenes: Sequence[Scene], frames: Sequence[Frame], rng: random.Random
) -> float:
    """Share of search phrases, half true and half near misses, that are judged rightly."""
    truths = [rng.random() < 0.5 for _ in scenes]
    texts = [
        statement_text(sample_statement(scene, rng, holds=truth), rng)
        for scene, truth in zip(scenes, truths, strict=True)
    ]
    return float(((matcher.match(frames, texts) > 0.5) == np.array(truths)).mean())


def detection_row(detector: DyHeadDetector, scenes: Sequence[Scene], frames: Sequence[Frame]) -> list[str]:
    """Average precision as COCO counts it."""
    figures = score([truth_of(scene) for scene in scenes], detector.detect(frames))
    return [f"{figures[name]:.3f}" for name in ("AP", "AP50", "AP75")]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def section(
    combinations: Combinations,
    count: int,
    embedder: FlorenceEmbedder,
    vqa: MeterVQA,
    matcher: MeterMatcher,
    detector: DyHeadDetector,
) -> str:
    """All figures over one kind of scenes."""
    rng = random.Random(f"model card {combinations}")
    scenes = distinct_scenes(count, combinations, rng)
    frames = [photograph(scene) for scene in scenes]
    captions = [caption(scene, rng) for scene in scenes]
    retrieval, answers = retrieval_rows(embedder, frames, captions), answer_rows(vqa, scenes, frames, rng)
    fits = matching_accuracy(matcher, scenes, frames, rng)
    return "\n\n".join(
        [
            f"## {count} scenes with distinct captions, {TITLES[combinations]}",
            table(["retrieval", "R@1", "R@5", "R@10"], retrieval),
            table(["question type", "accuracy", "questions"], answers),
            f"Matching of search phrases, half of them near misses: {fits:.3f}",
            table(["detection: AP", "AP50", "AP75"], [detection_row(detector, scenes, frames)]),
        ]
    )


def actions_section(recognizer: VideoCoSwinRecognizer, embedder: FlorenceEmbedder, count: int) -> str:
    """What is recognised in clips, and what of it without seeing motion."""
    figures = figures_of(recognizer, embedder, count)
    rows = [[name, f"{value:.3f}"] for name, value in figures.items() if not name.startswith("ms")]
    title = f"## {count} clips of one action each, {len(recognizer.labels)} actions"
    return "\n\n".join([title, table(["actions", "top-1"], rows)])


def introduction(name: str) -> str:
    """What the model is and how large."""
    card = find_model(name)
    megabytes = sum(file.stat().st_size for file in Path(card.source).rglob("*.safetensors")) / 1e6
    held_out = ", ".join(sorted(f"{color} {thing}" for color, thing in HELD_OUT))
    return "\n\n".join(
        [
            "# Model card: florence-tiny",
            f"Knows {card.training_data}. Licence of the weights: {card.license}. Weights: {megabytes:.1f} MB.",
            "Trained by `python -m recipes.florence_tiny.train` (towers, METER), `python -m "
            "recipes.florence_tiny.train_detector` (Dynamic Head) and `python -m "
            "recipes.florence_tiny.train_actions` (Video CoSwin); measured by `make card`, which writes this page. "
            "The scenes below are drawn at 640 x 480 pixels and stored as JPEG; none was seen in training.",
            f"Combinations never drawn in training: {held_out}.",
        ]
    )


def main(
    model: Annotated[str, typer.Option(help="Name of a model, or a folder with florence/ and meter/.")] = TINY,
    scenes: Annotated[int, typer.Option(help="Scenes in each section.")] = 500,
    output: Annotated[Path | None, typer.Option(help="Where to write the card; it is always printed.")] = None,
) -> None:
    """Measure and print the model card."""
    card = find_model(model)
    embedder = FlorenceEmbedder.from_pretrained(card.florence, card.name)
    meter = load_meter(card.meter)
    vqa, matcher = MeterVQA(*meter), MeterMatcher(*meter)
    detector = DyHeadDetector.from_pretrained(card.detector, name=card.name, threshold=ALMOST_ALL)
    sections = [section(combinations, scenes, embedder, vqa, matcher, detector) for combinations in TITLES]
    recognizer = VideoCoSwinRecognizer.from_pretrained(card.video, name=card.name)
    sections.append(actions_section(recognizer, embedder, scenes // 11 * 11))
    text = "\n\n".join([introduction(model), *sections]) + "\n"
    print(text)
    if output is not None:
        output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
