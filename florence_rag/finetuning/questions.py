"""Questions about pictures with the answers that people gave, in the files of VQAv2 (visualqa.org/vqa_v2.html)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from florence_rag.errors import InputError
from florence_rag.finetuning.dataset_io import field, listed, read_json
from florence_rag.finetuning.pairs import Part
from florence_rag.models.vqa_vocabulary import normalize, soft_score
from florence_rag.sources import MEDIA_BY_SUFFIX

ANNOTATORS = 10
"""Of VQAv2; where there are fewer, each counts for more."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question about a picture. answers: all that were given, normalised; common: the one given most often."""

    image: Path
    text: str
    answers: tuple[str, ...]
    common: str
    part: Part | None = None

    def scores(self) -> dict[str, float]:
        """How right each answer is, in [0, 1]: by how many of ten agree, as METER rounds it."""
        said = Counter(self.answers)
        agreeing = {answer: round(count * ANNOTATORS / len(self.answers)) for answer, count in said.items()}
        return {answer: soft_score(max(1, count)) for answer, count in agreeing.items()}


@dataclass(frozen=True, slots=True)
class QuestionFiles:
    """Where the questions, the annotations and the pictures are."""

    questions: tuple[Path, ...]
    annotations: tuple[Path, ...]
    images: Path


def find_files(
    data: Path | None, questions: Sequence[Path] = (), annotations: Sequence[Path] = (), images: Path | None = None
) -> QuestionFiles:
    """What is not given is looked for in the folder data, by VQAv2's names: *questions*.json, *annotations*.json."""
    found = {"questions": tuple(questions), "annotations": tuple(annotations)}
    if data is not None and not data.is_dir():
        raise InputError(f"{str(data)!r} is no folder; give one with the files *questions*.json and *annotations*.json")
    if data is None and not (questions and annotations):
        raise InputError("give a folder with questions, annotations and pictures, or --questions and --annotations")
    for kind, files in found.items():
        if not files and data is not None:
            found[kind] = tuple(sorted(path for path in data.rglob("*.json") if kind in path.name.casefold()))
        if not found[kind]:
            raise InputError(f"there is no file *{kind}*.json in {str(data)!r}; name it with --{kind}")
    return QuestionFiles(found["questions"], found["annotations"], images or data or found["questions"][0].parent)


def read_questions(files: QuestionFiles) -> list[Question]:
    """All questions that have answers. Those of files with "val" in their names, where there are also others, are to be
    left out. InputError for files of another form, which names the field, and where no question has an answer."""
    asked: dict[Any, dict[str, Any]] = {}
    for path in files.questions:
        for number, row in enumerate(listed(read_json(path), "questions", path)):
            where = f"questions[{number}] of {str(path)!r}"
            for name, kinds in (("question_id", (int, str)), ("image_id", (int, str)), ("question", str)):
                field(row, name, kinds, where)
            if not row["question"].strip():
                raise InputError(f"the field 'question' of {where} is empty")
            asked[row["question_id"]] = row
    pictures = _Files(files.images)
    parts = {path: "val" in path.name.casefold() for path in files.annotations}
    mixed = len(set(parts.values())) == 2
    found: list[Question] = []
    for path in files.annotations:
        part: Part | None = ("validation" if parts[path] else "train") if mixed else None
        found += _answered(path, asked, pictures, part)
    if not found:
        raise InputError("no question has an answer: no question_id is in both the questions and the annotations")
    return found


def _answered(path: Path, asked: Mapping[Any, Any], pictures: _Files, part: Part | None) -> Iterator[Question]:
    for number, row in enumerate(listed(read_json(path), "annotations", path)):
        where = f"annotations[{number}] of {str(path)!r}"
        if (question := asked.get(field(row, "question_id", (int, str), where))) is None:
            continue
        given = field(row, "answers", list, where) if "answers" in row else []
        answers = [normalize(field(each if isinstance(each, dict) else {}, "answer", str, where)) for each in given]
        if "multiple_choice_answer" in row or not answers:
            common = normalize(field(row, "multiple_choice_answer", str, where))
        else:
            common = Counter(answers).most_common(1)[0][0]
        yield Question(pictures.of(question), question["question"], tuple(answers or [common]), common, part)


class _Files:
    """The pictures in a folder, by number: COCO_train2014_000000000042.jpg is that of image_id 42."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, Path] = {}
        for path in sorted(folder.rglob("*")):
            if MEDIA_BY_SUFFIX.get(path.suffix.lower()) == "image":
                number = re.search(r"(\d+)$", path.stem)
                self._known.setdefault(str(int(number[1])) if number else path.stem, path)
                self._known.setdefault(path.stem, path)
                self._known.setdefault(path.name, path)

    def of(self, question: Mapping[str, Any]) -> Path:
        """A field "image", with a path, goes before the number. A file that is not there is told as missing later."""
        if isinstance(named := question.get("image"), str):
            return self._folder / named
        key = str(question["image_id"])
        return self._known.get(key) or self._folder / f"{key}.jpg"


def vocabulary_of(questions: Sequence[Question], least: int) -> list[str]:
    """The answers that are the most common one of at least so many questions, as they first appear.

    InputError where fewer than two are left.
    """
    counts = Counter(each.common for each in questions if each.common)
    answers = [answer for answer in counts if counts[answer] >= least]
    if len(answers) < 2:
        raise InputError(
            f"{len(answers)} answers are the most common one of {least} or more questions; two are needed, the "
            f"commonest are {dict(counts.most_common(3))!r:.80}; lower --least, or give more data"
        )
    return answers
