"""Visual question answering with the metric of VQA's official evaluation (arXiv 1505.00468).

An answer that n people gave scores min(n / 3, 1), averaged over the sets of all people but one. The expected
calibration error (arXiv 1706.04599) says how far confidences are from accuracies, over ten bins of confidence.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np

from florence_rag.datasets.dataset_io import Id
from florence_rag.datasets.media_files import image_paths
from florence_rag.datasets.vqav2 import VQADataset, VQAQuestion
from florence_rag.errors import InputError
from florence_rag.evaluation.bootstrap import mean_interval
from florence_rag.evaluation.image_reading import Track, read_images
from florence_rag.evaluation.report import (
    EvaluationReport,
    Metric,
    ReliabilityBin,
    calibration_error,
    reliability_bins,
)
from florence_rag.models.vqa_vocabulary import normalize
from florence_rag.perception.base import VisualQA, VQAResult
from florence_rag.perception.vqa_calibration import VQACalibration

_LEAST_ANSWERS = 100

AGREEING = 3
"""The number of other people who make an answer fully right."""


class AnsweredQuestion(NamedTuple):
    """A question with the answer of a model."""

    question: VQAQuestion
    answer: str
    confidence: float | None = None


def soft_accuracy(answer: str, people: Sequence[str]) -> float:
    """Return the score of an answer in [0, 1]; people: the answers of all people, usually ten.

    As in the official evaluation, answers are normalized only where people disagree.
    """
    own, theirs = _one_line(answer), [_one_line(each) for each in people]
    if len(set(theirs)) > 1:
        own, theirs = normalize(own), [normalize(each) for each in theirs]
    same = theirs.count(own)
    without_one_of_them, without_another = min(1, max(same - 1, 0) / AGREEING), min(1, same / AGREEING)
    return (same * without_one_of_them + (len(theirs) - same) * without_another) / len(theirs)


def _one_line(answer: str) -> str:
    return answer.replace("\n", " ").replace("\t", " ").strip()


def evaluate_vqa(
    data: VQADataset, vqa: VisualQA, name: str, track: Track = iter
) -> tuple[EvaluationReport, list[AnsweredQuestion]]:
    """Return the accuracy over all questions and for each type of answer, and the answers; intervals are over images.

    A question that has only a most common answer is scored by whether the model gives it. Without people's answers, as
    in a test split, there are no metrics. InputError is raised if no image can be read.
    """
    by_image: dict[Id, list[VQAQuestion]] = {}
    for question in data.questions:
        by_image.setdefault(question.image_id, []).append(question)
    paths, missing = image_paths(by_image, data.images)
    failed = list(missing.values())
    answered = [
        _answered(question, vqa.answer(frame, question.text))
        for id, frame in read_images(track(list(paths)), failed, paths.__getitem__)
        for question in by_image[id]
    ]
    counts = {"images": len({each.question.image_id for each in answered}), "questions": len(answered)}
    scored = [each for each in answered if each.question.answers or each.question.common]
    metrics = tuple(_metrics(scored)) if scored else ()
    notes = () if metrics else ("There are no annotations, so nothing is scored.",)
    report = EvaluationReport("vqa", name, counts, metrics, (*data.failed, *failed), notes, _reliability(scored))
    return report, answered


def _answered(question: VQAQuestion, result: VQAResult) -> AnsweredQuestion:
    return AnsweredQuestion(question, result.answer, result.confidence)


def calibrate_vqa(
    answered: Sequence[AnsweredQuestion], report: EvaluationReport
) -> tuple[VQACalibration, EvaluationReport]:
    """Fit a calibration to the answers about one half of the images, and measure it on the other half.

    Raises:
        InputError: If fewer than 100 answers have a confidence and annotations.
    """
    known = [
        each for each in answered if each.confidence is not None and (each.question.answers or each.question.common)
    ]
    if len(known) < _LEAST_ANSWERS:
        raise InputError(
            f"{len(known)} answers have a confidence and annotations; a calibration needs at least {_LEAST_ANSWERS}"
        )
    images = sorted({each.question.image_id for each in known}, key=lambda id: blake2b(str(id).encode()).digest())
    chosen, others = set(images[::2]), set(images[1::2])
    fitted, held_out = ([each for each in known if each.question.image_id in some] for some in (chosen, others))
    examples = [(each.answer, each.confidence or 0.0, _score(each)) for each in fitted]
    calibration = VQACalibration.fit(*zip(*examples, strict=True))
    measured = [_calibrated(each, calibration) for each in held_out]
    before = calibration_error(_reliability(held_out))
    note = (
        f"Fitted to one half of the images, and measured on the other; the calibration error before was {before:.2%}."
    )
    counts = {"images": len(images) // 2, "questions": len(measured)}
    metrics, bins = tuple(_metrics(measured)), _reliability(measured)
    return calibration, replace(report, counts=counts, metrics=metrics, notes=(note,), reliability=bins)


def _calibrated(answered: AnsweredQuestion, calibration: VQACalibration) -> AnsweredQuestion:
    probability = calibration.scaling_of(answered.answer).probability
    return answered._replace(confidence=probability(answered.confidence or 0.0))


def _reliability(answered: Sequence[AnsweredQuestion]) -> tuple[ReliabilityBin, ...]:
    """Return the bins of confidence that have answers; none if the model gives no confidence."""
    return reliability_bins((each.confidence, _score(each)) for each in answered if each.confidence is not None)


def _metrics(answered: Sequence[AnsweredQuestion]) -> Iterator[Metric]:
    scores, types = np.array([_score(each) for each in answered]), [each.question.answer_type for each in answered]
    chosen = {"accuracy": list(range(len(answered)))}
    for answer_type in sorted(set(types) - {""}):
        chosen[f"accuracy, {answer_type}"] = [i for i, each in enumerate(types) if each == answer_type]
    for name, rows in chosen.items():
        images = [answered[i].question.image_id for i in rows]
        yield Metric(name, float(scores[rows].mean()), *mean_interval(scores[rows], images))
    for name, rows in chosen.items():
        if bins := _reliability([answered[i] for i in rows]):
            yield Metric(name.replace("accuracy", "calibration error"), calibration_error(bins))


def _score(answered: AnsweredQuestion) -> float:
    question, answer, _ = answered
    if question.answers:
        return soft_accuracy(answer, question.answers)
    return float(normalize(_one_line(answer)) == normalize(_one_line(question.common)))


def write_answers(answered: Sequence[AnsweredQuestion], file: Path) -> None:
    """Write the answers, sorted by question, in the form that VQA's evaluation server takes."""
    ordered = sorted(answered, key=lambda each: (isinstance(each.question.id, str), each.question.id))
    rows = [{"question_id": each.question.id, "answer": each.answer} for each in ordered]
    file.write_text(json.dumps(rows), "utf-8")
