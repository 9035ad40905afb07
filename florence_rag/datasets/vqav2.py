"""Questions about images with the answers of people, in VQAv2's format (https://visualqa.org/vqa_v2.html)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from florence_rag.datasets.dataset_io import (
    Id,
    evaluation_files,
    field,
    find_json,
    id_field,
    read_json,
    records,
    splits_by_name,
    text_field,
)
from florence_rag.errors import InputError
from florence_rag.types import Failure


class VQAFiles(NamedTuple):
    """The files of a data set, and the folder with its images."""

    questions: tuple[Path, ...]
    annotations: tuple[Path, ...]
    images: Path

    def for_evaluation(self) -> VQAFiles:
        """Return only the files with "val" in their names, where there are also others."""
        return VQAFiles(evaluation_files(self.questions), evaluation_files(self.annotations), self.images)


@dataclass(frozen=True, slots=True)
class VQAQuestion:
    """One question about an image, whose number or name is `image_id` (see `media_files.image_paths`).

    `answers` are those of all people as they wrote them, none in a test split; `common` is the most common one or "";
    `split` is "train" or "val" by the names of the files, or "".
    """

    id: Id
    image_id: Id
    text: str
    answers: tuple[str, ...] = ()
    common: str = ""
    answer_type: str = ""
    split: str = ""


class VQADataset(NamedTuple):
    """The questions of a data set, the folder with its images, and the questions that lack annotations."""

    questions: tuple[VQAQuestion, ...]
    images: Path
    failed: tuple[Failure, ...] = ()


def find_vqa_files(
    data: Path | None,
    questions: Sequence[Path] = (),
    annotations: Sequence[Path] = (),
    images: Path | None = None,
    *,
    need_annotations: bool = True,
) -> VQAFiles:
    """Find the files of a data set in VQAv2's format; raise InputError if one is missing.

    Args:
        data: A folder with files *questions*.json and *annotations*.json at any depth, or one file of questions.
        questions: The files of questions, instead of those of `data`.
        annotations: The files of annotations, instead of those of `data`.
        images: The folder with the images, by default the data folder or the folder of the first file of questions.
        need_annotations: Whether a data set without annotations, such as a test split, is an error.
    """
    if data is not None and not data.exists():
        raise InputError(f"{str(data)!r} does not exist; give a folder with *questions*.json and *annotations*.json")
    if data is None and not (questions and (annotations or not need_annotations)):
        raise InputError("give a folder with questions, annotations and images, or --questions and --annotations")
    folder = data if data is not None and data.is_dir() else None
    if data is not None and folder is None:
        questions = questions or (data,)
    found = {"questions": tuple(questions), "annotations": tuple(annotations)}
    for kind, files in found.items():
        if not files and folder is not None:
            found[kind] = find_json(folder, kind)
        if not found[kind] and (need_annotations or kind == "questions"):
            raise InputError(f"there is no file *{kind}*.json in {str(data)!r}; name it with --{kind}")
    return VQAFiles(found["questions"], found["annotations"], images or folder or found["questions"][0].parent)


def read_vqa(files: VQAFiles) -> VQADataset:
    """Return the questions that have annotations, or all questions if there is no file of annotations.

    Questions are {"questions": [{"question_id", "image_id", "question"}]}, where "image" may name the file of the image
    instead of its number. Annotations are {"annotations": [{"question_id", "answers": [{"answer"}]}]}, where
    "multiple_choice_answer" may stand for "answers" or next to it, and "answer_type" may be given. InputError is raised
    if a file has another form, or no question has an annotation.
    """
    questions = {
        each.id: each for file, split in splits_by_name(files.questions).items() for each in _asked(file, split)
    }
    if not files.annotations:
        return VQADataset(tuple(questions.values()), files.images)
    annotations: dict[Id, VQAQuestion] = {}
    for file, split in splits_by_name(files.annotations).items():
        for record, where in records(read_json(file), "annotations", file):
            id = id_field(record, "question_id", where)
            if id in questions:
                annotations[id] = _answered(questions[id], record, where, split)
    names = ", ".join(repr(str(file)) for file in files.annotations)
    if not annotations:
        raise InputError(f"{names} annotates none of the questions: no 'question_id' is in both kinds of files")
    missing = (Failure(f"question {id}", f"is not annotated in {names}") for id in questions if id not in annotations)
    return VQADataset(tuple(annotations[id] for id in questions if id in annotations), files.images, tuple(missing))


def _asked(file: Path, split: str) -> Iterator[VQAQuestion]:
    for record, where in records(read_json(file), "questions", file):
        id, number = id_field(record, "question_id", where), id_field(record, "image_id", where)
        image = field(record, "image", str, where, "") or number
        yield VQAQuestion(id, image, text_field(record, "question", where), split=split)


def _answered(question: VQAQuestion, record: Any, where: str, split: str) -> VQAQuestion:
    common = field(record, "multiple_choice_answer", str, where, "")
    listed = field(record, "answers", list, where, [] if common else None)
    if not listed and not common:
        raise InputError(f"the field 'answers' of {where} is empty")
    answers = tuple(field(each, "answer", str, f"an answer of {where}") for each in listed)
    answer_type = field(record, "answer_type", str, where, "")
    split = question.split or split
    return replace(question, answers=answers, common=common, answer_type=answer_type, split=split)
