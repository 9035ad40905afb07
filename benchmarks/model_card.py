"""Measures florence-tiny on held-out synthetic scenes and writes docs/model_card.md.

python benchmarks/model_card.py [--model NAME_OR_FOLDER] [--scenes 500]
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer
from rich.progress import track

from benchmarks.actions import action_metrics
from benchmarks.detector import MIN_CONFIDENCE, draw_compressed, score, truth_of
from florence_rag.embedding.florence import FlorenceEmbedder
from florence_rag.evaluation.report import calibration_error, reliability_bins
from florence_rag.models.registry import TINY, find_model
from florence_rag.perception.actions import VideoCoSwinRecognizer
from florence_rag.perception.base import VQAResult
from florence_rag.perception.detector import DyHeadDetector
from florence_rag.perception.meter import MeterMatcher, MeterVQA, load_meter
from florence_rag.perception.vqa_calibration import VQACalibration
from florence_rag.types import Frame
from recipes.florence_tiny.synthetic.captions import canonical_caption, caption
from recipes.florence_tiny.synthetic.questions import questions
from recipes.florence_tiny.synthetic.scene import HELD_OUT, Scene, sample_scene
from recipes.florence_tiny.synthetic.statements import sample_statement, statement_text

Combinations = Literal["any", "held-out", "seen"]
TITLES: dict[Combinations, str] = {
    "any": "all combinations of color and category",
    "held-out": "every scene has a combination that training never shows",
}
QUESTIONS_PER_SCENE = 5
_DRAWS = 100
_ANSWER_COLUMNS = (
    "question type",
    "accuracy",
    "calibration error",
    "the same, fitted to training scenes",
    "of a perfect calibration, by chance",
    "questions",
)


def distinct_scenes(count: int, combinations: Combinations, rng: random.Random) -> list[Scene]:
    """Sample scenes that differ in their colors and categories from left to right."""
    scenes: dict[str, Scene] = {}
    while len(scenes) < count:
        scene = sample_scene(rng, combinations)
        scenes.setdefault(canonical_caption(scene), scene)
    return list(scenes.values())


def recall(similarity: np.ndarray, k: int) -> float:
    """Return the share of rows whose diagonal element is among the k largest."""
    own = np.diagonal(similarity)[:, None]
    return float(((similarity > own).sum(axis=1) < k).mean())


def retrieval_rows(embedder: FlorenceEmbedder, frames: Sequence[Frame], captions: Sequence[str]) -> list[list[str]]:
    """Return R@1, R@5 and R@10 in both directions."""
    similarity = embedder.embed_texts(captions) @ embedder.embed_images(frames).T
    directions = {"text to image": similarity, "image to text": similarity.T}
    return [[name, *(f"{recall(table, k):.3f}" for k in (1, 5, 10))] for name, table in directions.items()]


def ask_all(
    vqa: MeterVQA, scenes: Sequence[Scene], frames: Iterable[Frame], rng: random.Random
) -> list[tuple[str, VQAResult, float]]:
    """Return the type of each question, the answer, and whether it is right."""
    return [
        (question.type, result := vqa.answer(frame, question.text), float(result.answer == question.answer))
        for scene, frame in track(zip(scenes, frames, strict=True), "answering", total=len(scenes))
        for question in questions(scene, rng, QUESTIONS_PER_SCENE)
    ]


def fit_confidence(vqa: MeterVQA, count: int) -> VQACalibration:
    """Fit the confidence of each type of answer to scenes of the combinations that training shows."""
    rng = random.Random("calibration of the model card")
    scenes = distinct_scenes(count, "seen", rng)
    answered = ask_all(vqa, scenes, map(draw_compressed, scenes), rng)
    examples = ((result.answer, result.confidence or 0.0, right) for _, result, right in answered)
    return VQACalibration.fit(*zip(*examples, strict=True))


def answer_rows(answered: Sequence[tuple[str, VQAResult, float]], fitted: VQACalibration) -> list[list[str]]:
    """Return the accuracy of each type of question and overall, and its calibration error before and after the fit."""
    rows = []
    for group in sorted({"overall", *(name for name, _, _ in answered)}):
        some = [(result, right) for name, result, right in answered if group in ("overall", name)]
        scalings = [fitted.scaling_of(result.answer) for result, _ in some]
        raw = [(result.confidence or 0.0, right) for result, right in some]
        scaled = [(each.probability(value), right) for each, (value, right) in zip(scalings, raw, strict=True)]
        errors = [calibration_error(reliability_bins(raw)), calibration_error(reliability_bins(scaled))]
        errors.append(chance_error(np.array([value for value, _ in raw])))
        accuracy = np.mean([right for _, right in some])
        rows.append([group, *(f"{value:.3f}" for value in (accuracy, *errors)), str(len(some))])
    return rows


def chance_error(confidences: np.ndarray) -> float:
    """Return the calibration error of a model whose answers are right as often as these confidences say, on average."""
    rng = np.random.default_rng(0)
    right = (rng.random((_DRAWS, len(confidences))) < confidences).astype(float)
    draws = [calibration_error(reliability_bins(zip(confidences.tolist(), row, strict=True))) for row in right.tolist()]
    return float(np.mean(draws))


def matching_accuracy(
    matcher: MeterMatcher, scenes: Sequence[Scene], frames: Sequence[Frame], rng: random.Random
) -> float:
    """Return the accuracy over search phrases, half of them true and half near misses."""
    truths = [rng.random() < 0.5 for _ in scenes]
    texts = [
        statement_text(sample_statement(scene, rng, holds=truth), rng)
        for scene, truth in zip(scenes, truths, strict=True)
    ]
    return float(((matcher.match(frames, texts) > 0.5) == np.array(truths)).mean())


def detection_row(detector: DyHeadDetector, scenes: Sequence[Scene], frames: Sequence[Frame]) -> list[str]:
    """Return COCO's average precision."""
    metrics = score([truth_of(scene) for scene in scenes], detector.detect(frames))
    return [f"{metrics[name]:.3f}" for name in ("AP", "AP50", "AP75")]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def section(
    combinations: Combinations,
    count: int,
    embedder: FlorenceEmbedder,
    vqa: MeterVQA,
    fitted: VQACalibration,
    matcher: MeterMatcher,
    detector: DyHeadDetector,
) -> str:
    """Return the section for a group of scenes."""
    rng = random.Random(f"model card {combinations}")
    scenes = distinct_scenes(count, combinations, rng)
    frames = [draw_compressed(scene) for scene in scenes]
    captions = [caption(scene, rng) for scene in scenes]
    retrieval, answers = retrieval_rows(embedder, frames, captions), ask_all(vqa, scenes, frames, rng)
    fits = matching_accuracy(matcher, scenes, frames, rng)
    return "\n\n".join(
        [
            f"## {count} scenes with distinct captions, {TITLES[combinations]}",
            table(["retrieval", "R@1", "R@5", "R@10"], retrieval),
            table(_ANSWER_COLUMNS, answer_rows(answers, fitted)),
            f"Matching of search phrases, half of them near misses: {fits:.3f}",
            table(["detection: AP", "AP50", "AP75"], [detection_row(detector, scenes, frames)]),
        ]
    )


def actions_section(recognizer: VideoCoSwinRecognizer, embedder: FlorenceEmbedder, count: int) -> str:
    """Return the section on actions."""
    metrics = action_metrics(recognizer, embedder, count)
    rows = [[name, f"{value:.3f}"] for name, value in metrics.items() if not name.startswith("ms")]
    title = f"## {count} clips of one action each, {len(recognizer.labels)} actions"
    return "\n\n".join([title, table(["actions", "top-1"], rows)])


def introduction(name: str) -> str:
    """Return the introduction of the card."""
    card = find_model(name)
    megabytes = sum(file.stat().st_size for file in Path(card.source).rglob("*.safetensors")) / 1e6
    held_out = ", ".join(sorted(f"{color} {category}" for color, category in HELD_OUT))
    return "\n\n".join(
        [
            "# Model card: florence-tiny",
            f"Trained on {card.training_data}. License of the weights: {card.license}. Weights: {megabytes:.1f} MB.",
            "Trained by `python -m recipes.florence_tiny.train` (dual encoder, METER), `python -m "
            "recipes.florence_tiny.train_detector` (Dynamic Head) and `python -m "
            "recipes.florence_tiny.train_actions` (Video CoSwin); measured by `make card`, which writes this page. "
            "The scenes have 640 x 480 pixels and are stored as JPEG files; none is in the training data.",
            f"Combinations that training never shows: {held_out}.",
        ]
    )


def main(
    model: Annotated[str, typer.Option(help="Name of a model, or a folder with florence/ and meter/.")] = TINY,
    scenes: Annotated[int, typer.Option(help="Scenes in each section.")] = 500,
    output: Annotated[Path | None, typer.Option(help="Also write the card to this file.")] = None,
) -> None:
    """Measure and print the model card."""
    card = find_model(model)
    embedder = FlorenceEmbedder.from_pretrained(card.florence, card.name)
    meter = load_meter(card.meter)
    vqa, matcher = MeterVQA(*meter), MeterMatcher(*meter)
    detector = DyHeadDetector.from_pretrained(card.detector, name=card.name, threshold=MIN_CONFIDENCE)
    fitted = fit_confidence(vqa, scenes // 2)
    sections = [section(combinations, scenes, embedder, vqa, fitted, matcher, detector) for combinations in TITLES]
    recognizer = VideoCoSwinRecognizer.from_pretrained(card.video, name=card.name)
    sections.append(actions_section(recognizer, embedder, scenes // 11 * 11))
    text = "\n\n".join([introduction(model), *sections]) + "\n"
    print(text)
    if output is not None:
        output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
