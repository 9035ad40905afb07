"""Fine-tunes METER to answer questions with the answers of a data set, by soft targets.

The score of an answer is that of VQA's ten annotators as METER rounds it; fewer annotators count for more.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from florence_rag.datasets.dataset_io import Id
from florence_rag.datasets.media_files import image_paths
from florence_rag.datasets.vqav2 import VQAFiles, VQAQuestion, read_vqa
from florence_rag.errors import InputError
from florence_rag.finetuning.examples import ImageCache, split_examples, usable_examples
from florence_rag.finetuning.settings import Settings, summarize_names
from florence_rag.finetuning.trainer import Collator, TrainingSetup, batches, keep_known_rows
from florence_rag.models.meter import MeterConfig
from florence_rag.models.meter_heads import MeterForMultipleTasks, MeterForQuestionAnswering
from florence_rag.models.processing import FlorenceProcessor
from florence_rag.models.strict_loading import open_processor, open_strictly
from florence_rag.models.vqa_vocabulary import MIN_QUESTIONS, normalize, soft_score

ANNOTATORS = 10
MANY_QUESTIONS = 50_000
"""From this number of questions on, an answer must be that of METER's nine questions; below, every answer counts."""


def answer_scores(question: VQAQuestion) -> dict[str, float]:
    """Return the score of each normalized answer to a question, in [0, 1]."""
    answers = [normalize(answer) for answer in question.answers or (question.common,)]
    agreeing = {answer: round(count * ANNOTATORS / len(answers)) for answer, count in Counter(answers).items()}
    return {answer: soft_score(max(1, count)) for answer, count in agreeing.items()}


def common_answer(question: VQAQuestion) -> str:
    """Return the normalized most common answer to a question."""
    if question.common:
        return normalize(question.common)
    return Counter(map(normalize, question.answers)).most_common(1)[0][0]


def answer_vocabulary(questions: Sequence[VQAQuestion], min_questions: int) -> list[str]:
    """Return the answers that are the most common one of enough questions, in their order; at least two are needed."""
    counts = Counter(answer for question in questions if (answer := common_answer(question)))
    answers = [answer for answer in counts if counts[answer] >= min_questions]
    if len(answers) < 2:
        raise InputError(
            f"{len(answers)} answers are the most common one of {min_questions} or more questions, and training needs "
            f"two; the most common are {dict(counts.most_common(3))!r:.80}; lower --min-questions, or give more data"
        )
    return answers


class QuestionDataset(Dataset[dict[str, Any]]):
    """Questions as pixels, a text and the scores of all answers, (A,)."""

    def __init__(
        self, questions: Sequence[VQAQuestion], images: ImageCache, paths: Mapping[Id, Path], answers: Sequence[str]
    ) -> None:
        self.questions, self.images, self.paths = questions, images, paths
        self.index = {answer: i for i, answer in enumerate(answers)}

    def __len__(self) -> int:
        return len(self.questions)

    def __getitem__(self, index: int) -> dict[str, Any]:
        question = self.questions[index]
        target = torch.zeros(len(self.index))
        for answer, score in answer_scores(question).items():
            if answer in self.index:
                target[self.index[answer]] = score
        return {"pixels": self.images[self.paths[question.image_id]], "text": question.text, "target": target}


def collate_questions(processor: FlorenceProcessor, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return pixel_values (B, 3, H, W), input_ids and attention_mask (B, L), and labels (B, A) for METER's forward."""
    pixels = torch.from_numpy(np.stack([row["pixels"] for row in rows]))
    return {
        "pixel_values": processor.image_processor.normalize_pixels(pixels),
        **processor(text=[row["text"] for row in rows]),
        "labels": torch.stack([row["target"] for row in rows]),
    }


def adapt_to_answers(base_model: Path, answers: Sequence[str]) -> MeterForQuestionAnswering:
    """Return a METER for these answers: known answers keep their weights, the others get new ones.

    Its other heads are dropped, because the features that they read change in training.
    """
    known = open_strictly(MeterForMultipleTasks, base_model)
    old: MeterConfig = known.config
    settings = {**old.to_dict(), "heads": ["vqa"], "answers": list(answers)}
    for derived in ("num_answers", "id2label", "label2id", "architectures"):
        settings.pop(derived, None)
    model = MeterForQuestionAnswering(MeterConfig(**settings))
    model.meter.load_state_dict(known.meter.state_dict())
    if "vqa" in old.heads:
        old_head: Any = known.heads["vqa"]
        new_head: Any = model.heads["vqa"]
        for layer in (0, 1):
            new_head[layer].load_state_dict(old_head[layer].state_dict())
        keep_known_rows(new_head[3], old_head[3], answers, old.answers or ())
    untyped: Any = model
    return untyped.to(known.device)


@dataclass(frozen=True)
class MeterTask:
    """Fine-tunes METER on questions with answers; the network is written to the folder meter.

    Args:
        files: A data set that `florence_rag.datasets.vqav2.find_vqa_files` finds.
        min_questions: The number of questions whose most common answer an answer must be to be learned; by default 1,
            and METER's 9 if there are at least 50,000 questions.
    """

    files: VQAFiles
    min_questions: int | None = None

    def prepare(self, base_model: Path, settings: Settings) -> TrainingSetup:
        """Read the questions, and build a METER for their answers from the one in a folder."""
        questions = read_vqa(self.files).questions
        paths, failed = image_paths(dict.fromkeys(each.image_id for each in questions), self.files.images)
        processor: FlorenceProcessor = open_processor(FlorenceProcessor, base_model)
        cache = ImageCache(paths.values(), processor.image_processor)
        failed |= {id: cache.failed[path] for id, path in paths.items() if path in cache.failed}
        usable = usable_examples(questions, failed, self.files.questions[0], lambda each: each.image_id)
        train, held_out = split_questions(usable, settings.validation, settings.seed)
        least = self.min_questions or (MIN_QUESTIONS if len(train) >= MANY_QUESTIONS else 1)
        answers = answer_vocabulary(train, least)
        return TrainingSetup(
            part="meter",
            data=(*self.files.questions, *self.files.annotations),
            model=adapt_to_answers(base_model, answers),
            processor=processor,
            train=QuestionDataset(train, cache, paths, answers),
            validation=QuestionDataset(held_out, cache, paths, answers),
            collate=partial(collate_questions, processor),
            metrics=answer_metrics,
            details={"answers": summarize_names(answers)},
            identity={"answers": len(answers)},
            failed=failed.values(),
        )


def split_questions(
    questions: Sequence[VQAQuestion], share: float, seed: int
) -> tuple[list[VQAQuestion], list[VQAQuestion]]:
    """Divide questions into a training and a validation part; the questions about one image stay together."""
    learn = set(split_examples(questions, share, seed, unit=lambda each: each.image_id)[0])
    return [each for each in questions if each in learn], [each for each in questions if each not in learn]


@torch.inference_mode()
def answer_metrics(
    model: MeterForQuestionAnswering, collate: Collator, data: QuestionDataset, batch: int = 32
) -> dict[str, float]:
    """Return the "soft accuracy": the mean score of the likeliest answers, as METER scores them in training."""
    model.eval()
    total = 0.0
    for inputs in batches(data, collate, batch):
        labels = inputs.pop("labels")
        best = model(**{key: value.to(model.device) for key, value in inputs.items()}).logits.argmax(1).cpu()
        total += float(labels.gather(1, best[:, None]).sum())
    return {"soft accuracy": total / len(data)}
