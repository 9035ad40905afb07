"""Visual question answering in VQAv2's format, scored as VQA's official evaluation scores it (arXiv 1505.00468).

An answer that n people gave counts min(n / 3, 1), averaged over the sets of all people but one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from florence_rag.errors import InputError
from florence_rag.evaluation.annotations import field, read_json, records
from florence_rag.evaluation.bootstrap import interval
from florence_rag.evaluation.image_dataset import Watch, check_any, numbered_pictures, readable
from florence_rag.evaluation.report import EvaluationReport, Figure
from florence_rag.models.vqa_vocabulary import normalize
from florence_rag.perception.base import VisualQA
from florence_rag.types import Failure

AGREEING = 3
"""So many of the other people make an answer wholly right."""


class Asked(NamedTuple):
    """One question, about the picture of a number. answers: of all people who were asked; none are known of tests."""

    id: int
    picture: int
    question: str
    answers: tuple[str, ...] = ()
    type: str = ""


@dataclass(frozen=True, slots=True)
class Questions:
    """The questions of a data set; failed: those that cannot be scored, and why."""

    asked: tuple[Asked, ...]
    failed: tuple[Failure, ...] = ()


class Answered(NamedTuple):
    """What a model said to a question."""

    asked: Asked
    answer: str


def soft_accuracy(answer: str, people: Sequence[str]) -> float:
    """How right an answer is, in [0, 1]; people: the answers of all who were asked, usually ten.

    As officially, answers are written in one way (models.answers.normalise) only where people did not all agree.
    """
    said, theirs = _one_line(answer), [_one_line(each) for each in people]
    if len(set(theirs)) > 1:
        said, theirs = normalize(said), [normalize(each) for each in theirs]
    same = theirs.count(said)
    without_one_of_them, without_another = min(1, max(same - 1, 0) / AGREEING), min(1, same / AGREEING)
    return (same * without_one_of_them + (len(theirs) - same) * without_another) / len(theirs)


def _one_line(answer: str) -> str:
    return answer.replace("\n", " ").replace("\t", " ").strip()


def read_vqa(questions: str | Path, annotations: str | Path | None) -> Questions:
    """The questions with the answers of people; without any where no annotations are given, as for the test splits.

    questions: {"questions": [{"question_id", "image_id", "question"}]}. annotations: {"annotations": [{"question_id",
    "answers": [{"answer"}], "answer_type"}]}. InputError names the field that is wrong; questions without annotation
    are reported.
    """
    asked = [_asked(record, where) for record, where in records(read_json(questions), "questions", questions)]
    if annotations is None:
        return Questions(tuple(asked))
    known = dict(
        _annotated(record, where) for record, where in records(read_json(annotations), "annotations", annotations)
    )
    if not any(each.id in known for each in asked):
        raise InputError(f"{str(annotations)!r} annotates none of the questions of {str(questions)!r}")
    scored = tuple(
        each._replace(answers=known[each.id][0], type=known[each.id][1]) for each in asked if each.id in known
    )
    reason = f"is not annotated in {str(annotations)!r}"
    return Questions(scored, tuple(Failure(f"question {each.id}", reason) for each in asked if each.id not in known))


def _asked(record: Any, where: str) -> Asked:
    id, picture = field(record, "question_id", int, where), field(record, "image_id", int, where)
    question = field(record, "question", str, where)
    if not question.strip():
        raise InputError(f"the field 'question' of {where} is empty")
    return Asked(id, picture, question)


def _annotated(record: Any, where: str) -> tuple[int, tuple[tuple[str, ...], str]]:
    answers = [field(each, "answer", str, f"an answer of {where}") for each in field(record, "answers", list, where)]
    if not answers:
        raise InputError(f"the field 'answers' of {where} is empty")
    kind = field(record, "answer_type", str, where) if "answer_type" in record else ""
    return field(record, "question_id", int, where), (tuple(answers), kind)


def answers_to(
    asked: Sequence[Asked], images: str | Path, vqa: VisualQA, failed: list[Failure], watch: Watch = iter
) -> list[Answered]:
    """What the model answers, picture by picture; those whose picture is not there are put down in `failed`.

    images: a folder; the picture of number 42 is the file whose name ends so, as COCO_val2014_000000000042.jpg.
    """
    by_picture: dict[int, list[Asked]] = {}
    for each in asked:
        by_picture.setdefault(each.picture, []).append(each)
    paths = _paths(by_picture, images, failed)
    pairs = readable(watch(list(paths)), paths.__getitem__, failed)
    answered = [
        Answered(each, vqa.answer(frame, each.question).answer)
        for number, frame in pairs
        for each in by_picture[number]
    ]
    check_any(answered, failed)
    return answered


def _paths(numbers: Mapping[int, object], images: str | Path, failed: list[Failure]) -> dict[int, Path]:
    there = numbered_pictures(images)
    for number in numbers:
        if number not in there:
            failed.append(
                Failure(f"picture {number}", f"no name of a picture in {str(images)!r} ends with this number")
            )
        elif len(there[number]) > 1:
            two = " and ".join(repr(str(path)) for path in there[number][:2])
            raise InputError(f"{two} are both picture {number}; give a folder with one of them")
    return {number: there[number][0] for number in numbers if number in there}


def evaluate_vqa(
    questions: Questions, images: str | Path, vqa: VisualQA, name: str, watch: Watch = iter
) -> tuple[EvaluationReport, list[Answered]]:
    """Accuracy over all and for each type of answer, and the answers; intervals over pictures, with their questions.

    name: of the model, for the report. Without people's answers there are no figures, only answers.
    """
    failed = list(questions.failed)
    answered = answers_to(questions.asked, images, vqa, failed, watch)
    pictures = len({each.asked.picture for each in answered})
    counts = {"pictures": pictures, "questions": len(answered)}
    figures = tuple(_figures(answered)) if answered[0].asked.answers else ()
    notes = () if figures else ("There are no annotations, so nothing is scored.",)
    return EvaluationReport("vqa", name, counts, figures, tuple(failed), notes), answered


def _figures(answered: Sequence[Answered]) -> Iterator[Figure]:
    scores = np.array([soft_accuracy(each.answer, each.asked.answers) for each in answered])
    types = sorted({each.asked.type for each in answered} - {""})
    of_type = {f"accuracy, {kind}": [i for i, each in enumerate(answered) if each.asked.type == kind] for kind in types}
    for name, chosen in {"accuracy": range(len(answered)), **of_type}.items():
        values, pictures = scores[list(chosen)], [answered[i].asked.picture for i in chosen]
        yield Figure(name, float(values.mean()), *interval(values, pictures))


def write_answers(answered: Sequence[Answered], file: Path) -> None:
    """In the form that VQA's evaluation server takes, by number of the question."""
    rows = [
        {"question_id": each.asked.id, "answer": each.answer}
        for each in sorted(answered, key=lambda each: each.asked.id)
    ]
    file.write_text(json.dumps(rows), "utf-8")
