"""Questions about images with the answers of people, in VQAv2's format (https://visualqa.org/vqa_v2.html)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from florence_rag.datasets.dataset_io import Id, Record, evaluation_files, find_json, read_json, splits_by_name
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

    `data` is a folder with files *questions*.json and *annotations*.json at any depth, or one file of questions;
    `questions` and `annotations` replace those of `data`. The images lie in `data` or next to the first file of
    questions by default. A test split has no annotations: it is an error only if `need_annotations` is true.
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
    questions: dict[Id, VQAQuestion] = {}
    for file, split in splits_by_name(files.questions).items():
        for record in read_json(file).records("questions"):
            id, number = record.id("question_id"), record.id("image_id")
            image = record.get("image", str, "") or number
            questions[id] = VQAQuestion(id, image, record.text("question"), split=split)
    if not files.annotations:
        return VQADataset(tuple(questions.values()), files.images)
    annotations: dict[Id, VQAQuestion] = {}
    for file, split in splits_by_name(files.annotations).items():
        for record in read_json(file).records("annotations"):
            id = record.id("question_id")
            if id in questions:
                annotations[id] = _with_answers(questions[id], record, split)
    names = ", ".join(repr(str(file)) for file in files.annotations)
    if not annotations:
        raise InputError(f"{names} annotates none of the questions: no 'question_id' is in both kinds of files")
    missing = (Failure(f"question {id}", f"is not annotated in {names}") for id in questions if id not in annotations)
    return VQADataset(tuple(annotations[id] for id in questions if id in annotations), files.images, tuple(missing))


def _with_answers(question: VQAQuestion, record: Record, split: str) -> VQAQuestion:
    common = record.get("multiple_choice_answer", str, "")
    listed = record.get("answers", list, [] if common else None)
    if not listed and not common:
        raise InputError(f"the field 'answers' of {record.where} is empty")
    answers = tuple(Record(each, f"an answer of {record.where}").get("answer", str) for each in listed)
    answer_type = record.get("answer_type", str, "")
    return replace(question, answers=answers, common=common, answer_type=answer_type, split=question.split or split)
