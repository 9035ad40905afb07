"""What all trainers do: figures before, one run, figures after, and a folder that opens by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from florence_rag.finetuning.card import card_of
from florence_rag.finetuning.run import fine_tune, forget_checkpoints, is_main_process, require_accelerate
from florence_rag.finetuning.settings import FineTuned, Progress, Settings
from florence_rag.types import Failure


def begun(settings: Settings | None) -> Settings:
    """The settings of a run that begins now: what is random is of their seed. MissingExtraError without accelerate."""
    require_accelerate()
    settings = settings or Settings()
    torch.manual_seed(settings.seed)
    return settings


def batches(data: Dataset[Any], collate: Callable[..., Any], size: int) -> Iterator[Any]:
    """All rows in their order, so many at a time, as the model takes them."""
    count = len(data)  # type: ignore[arg-type]  # it has a length
    for start in range(0, count, size):
        yield collate([data[i] for i in range(start, min(start + size, count))])


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What a trainer brings: a model, what it learns from, and how it is judged.

    part: the folder that it becomes. check: what is left out of learn. figures: what the model reaches on it now.
    facts: for the model card. same: what a run must have in common with one that it goes on with, beside its start, its
    data and its settings. failed: files that could not be read.
    """

    part: str
    data: Sequence[str | Path]
    model: Any
    processor: Any
    learn: Dataset[Any]
    check: Dataset[Any]
    collate: Callable[..., Any]
    figures: Callable[[], dict[str, float]]
    facts: Mapping[str, Any]
    same: Mapping[str, Any] = field(default_factory=dict)
    failed: Iterable[Failure] = ()

    def teach(self, out: Path, start: str, settings: Settings, progress: Progress | None = None) -> FineTuned:
        """Train the model, or go on where that was cut off; it is written to out/part, its log to out/runs/part.

        start: what the model is called that it was.
        """
        data, examples = tuple(map(str, self.data)), len(self.learn)  # type: ignore[arg-type]  # it has a length
        before = self.figures()
        steps, seconds = fine_tune(
            self.model,
            self.learn,
            self.check,
            self.collate,
            out / "runs" / self.part,
            settings,
            about={"model": start, "data": data, "examples": examples, **self.same},
            progress=progress,
        )
        result = FineTuned(
            part=self.part,
            folder=out,
            start=start,
            data=data,
            examples=examples,
            validation=len(self.check),  # type: ignore[arg-type]
            steps=steps,
            seconds=round(seconds, 1),
            settings=settings,
            before=before,
            after=self.figures(),
            about=dict(self.facts),
            failed=tuple(self.failed),
        )
        if is_main_process():
            self._write(result)
        return result

    def _write(self, result: FineTuned) -> None:
        """Weights, configuration, processor and model card."""
        folder = result.folder / self.part
        self.model.save_pretrained(folder)
        self.processor.save_pretrained(folder)
        (folder / "README.md").write_text(card_of(result), "utf-8")
        forget_checkpoints(result.folder / "runs" / self.part)
