"""Fine-tunes METER to answer questions, on files in VQAv2's form: the answers are those of the data, targets soft."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from florence_rag.finetuning.dataset_io import counted, left_out
from florence_rag.finetuning.image_dataset import Pictures, readable
from florence_rag.finetuning.questions import Question, QuestionFiles, read_questions, vocabulary_of
from florence_rag.finetuning.settings import FineTuned, Progress, Settings
from florence_rag.finetuning.trainer import Lesson, batches, begun
from florence_rag.models.configuration_meter import MeterConfig
from florence_rag.models.meter_heads import MeterForMultipleTasks, MeterForQuestionAnswering
from florence_rag.models.processing import FlorenceProcessor
from florence_rag.models.strict_loading import open_strictly
from florence_rag.models.vqa_vocabulary import MIN_QUESTIONS

MANY = 50_000
"""From so many questions on an answer must be that of METER's nine; of fewer, every one counts."""


class Questions(Dataset[dict[str, Any]]):
    """Questions as pixels, a text and scores of the answers."""

    def __init__(self, questions: Sequence[Question], pictures: Pictures, answers: Sequence[str]) -> None:
        self.questions, self.pictures = questions, pictures
        self.number = {answer: i for i, answer in enumerate(answers)}

    def __len__(self) -> int:
        return len(self.questions)

    def __getitem__(self, index: int) -> dict[str, Any]:
        question = self.questions[index]
        target = torch.zeros(len(self.number))
        for answer, score in question.scores().items():
            if answer in self.number:
                target[self.number[answer]] = score
        return {"pixels": self.pictures[question.image], "text": question.text, "target": target}


@dataclass
class QuestionCollator:
    """Rows of Questions -> the arguments of MeterForQuestionAnswering.forward."""

    processor: FlorenceProcessor

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """-> pixel_values (B, 3, H, W), input_ids and attention_mask (B, T), labels (B, A)."""
        pixels = torch.from_numpy(np.stack([row["pixels"] for row in rows]))
        return {
            "pixel_values": self.processor.image_processor.normalize_pixels(pixels),
            **self.processor(text=[row["text"] for row in rows]),
            "labels": torch.stack([row["target"] for row in rows]),
        }


def with_answers(start: Path, answers: Sequence[str]) -> MeterForQuestionAnswering:
    """A METER for these answers; what it knew of those among them it keeps, other outputs begin anew.

    Its other heads are dropped: they would not learn, and what they read off would change under them.
    """
    known = open_strictly(MeterForMultipleTasks, start)
    old: MeterConfig = known.config
    settings = {**old.to_dict(), "heads": ["vqa"], "answers": list(answers)}
    for derived in ("num_answers", "id2label", "label2id", "architectures"):
        settings.pop(derived, None)
    model = MeterForQuestionAnswering(MeterConfig(**settings))
    model.meter.load_state_dict(known.meter.state_dict())
    if "vqa" in old.heads:
        _keep_answers(known.heads["vqa"], model.heads["vqa"], old.answers or (), answers)
    placed: Any = model
    return placed.to(known.device)


def _keep_answers(old: Any, new: Any, before: Sequence[str], now: Sequence[str]) -> None:
    """Of the answers that both classifiers have."""
    for i in (0, 1):
        new[i].load_state_dict(old[i].state_dict())
    numbers = {answer: i for i, answer in enumerate(before)}
    with torch.no_grad():
        for i, answer in enumerate(now):
            if answer in numbers:
                new[3].weight[i] = old[3].weight[numbers[answer]]
                new[3].bias[i] = old[3].bias[numbers[answer]]


def train_meter(
    files: QuestionFiles,
    out: Path,
    start: Path,
    *,
    name: str | None = None,
    least: int | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> FineTuned:
    """Fine-tune METER to answer; it is written to out/meter, its log to out/runs/meter.

    start: folder of the METER to begin with; name: what that is called. least: of how many questions an answer must be
    the most common one to be learned, by default 1, and METER's 9 from 50,000 questions on. Called again with the same,
    a run that was cut off goes on. Raises InputError for data that cannot be learned from.
    """
    settings = begun(settings)
    questions = read_questions(files)
    processor: FlorenceProcessor = FlorenceProcessor.from_pretrained(start)
    pictures = Pictures((each.image for each in questions), processor.image_processor)
    usable = readable(questions, pictures.failed, files.questions[0])
    learn, kept = parted(usable, settings.validation, settings.seed)
    answers = vocabulary_of(learn, least or (MIN_QUESTIONS if len(learn) >= MANY else 1))
    model, check = with_answers(start, answers), Questions(kept, pictures, answers)
    collate = QuestionCollator(processor)
    lesson = Lesson(
        part="meter",
        data=(*files.questions, *files.annotations),
        model=model,
        processor=processor,
        learn=Questions(learn, pictures, answers),
        check=check,
        collate=collate,
        figures=lambda: answer_figures(model, collate, check),
        facts={"answers": counted(answers)},
        same={"answers": len(answers)},
        failed=pictures.failed.values(),
    )
    return lesson.teach(out, name or str(start), settings, progress)


def parted(questions: Sequence[Question], share: float, seed: int) -> tuple[list[Question], list[Question]]:
    """To learn from, and to look at in between; as the data say, or this share of the pictures with their questions."""
    given = [each for each in questions if each.part == "train"], [each for each in questions if each.part != "train"]
    if all(given) and all(each.part for each in questions):
        return given
    images = list(dict.fromkeys(each.image for each in questions))
    if len(images) == 1:
        return left_out(questions, [None] * len(questions), share, seed)
    shown = set(left_out(images, [None] * len(images), share, seed)[0])
    return [each for each in questions if each.image in shown], [each for each in questions if each.image not in shown]


@torch.inference_mode()
def answer_figures(
    model: MeterForQuestionAnswering, collate: QuestionCollator, data: Questions, batch: int = 32
) -> dict[str, float]:
    """ "soft accuracy": the mean score of the likeliest answers, as METER scores them in training."""
    model.eval()
    total = 0.0
    for inputs in batches(data, collate, batch):
        labels = inputs.pop("labels")
        best = model(**{key: value.to(model.device) for key, value in inputs.items()}).logits.argmax(1).cpu()
        total += float(labels.gather(1, best[:, None]).sum())
    return {"soft accuracy": total / len(data)}
