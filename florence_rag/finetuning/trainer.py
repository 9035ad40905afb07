"""The steps that all trainers share: metrics before, one run, metrics after, and a folder that opens by its name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from florence_rag.finetuning.card import model_card
from florence_rag.finetuning.run import delete_checkpoints, fine_tune, is_main_process, require_train_extra
from florence_rag.finetuning.settings import FineTuned, Progress, Settings
from florence_rag.types import Failure


def start_run(settings: Settings | None) -> Settings:
    """Return the settings of a run after seeding the random numbers; raise MissingExtraError without `train`."""
    require_train_extra()
    settings = settings or Settings()
    torch.manual_seed(settings.seed)
    return settings


def batches(data: Dataset[Any], collate: Callable[..., Any], size: int) -> Iterator[Any]:
    """Yield all rows of a data set in batches, as the arguments of the network."""
    count = len(data)  # type: ignore[arg-type]  # our data sets have a length
    for start in range(0, count, size):
        yield collate([data[i] for i in range(start, min(start + size, count))])


def keep_known_rows(new: torch.nn.Linear, old: torch.nn.Linear, names: Sequence[str], known: Sequence[str]) -> None:
    """Copy the weights of the outputs that two layers share.

    `names` are the labels or answers of the new layer, `known` those of the old one.
    """
    row_of = {name: row for row, name in enumerate(known)}
    with torch.no_grad():
        for row, name in enumerate(names):
            if name in row_of:
                new.weight[row] = old.weight[row_of[name]]
                new.bias[row] = old.bias[row_of[name]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuning:
    """A network with its data and its metrics, ready to be trained.

    `part` is the folder that the network becomes. `metrics` measures it on the validation examples. `details` are facts
    for the model card. `identity` is what a run must have in common with the one that it resumes, next to its base
    model, its data and its settings.
    """

    part: str
    data: Sequence[str | Path]
    model: Any
    processor: Any
    train: Dataset[Any]
    validation: Dataset[Any]
    collate: Callable[..., Any]
    metrics: Callable[[], dict[str, float]]
    details: Mapping[str, Any]
    identity: Mapping[str, Any] = field(default_factory=dict)
    failed: Iterable[Failure] = ()

    def run(self, out: Path, base_model: str, settings: Settings, progress: Progress | None = None) -> FineTuned:
        """Train the network, or resume its training, and write it to out/part and its log to out/runs/part."""
        data, examples = tuple(map(str, self.data)), len(self.train)  # type: ignore[arg-type]
        before = self.metrics()
        steps, seconds = fine_tune(
            self.model,
            self.train,
            self.validation,
            self.collate,
            out / "runs" / self.part,
            settings,
            identity={"model": base_model, "data": data, "examples": examples, **self.identity},
            progress=progress,
        )
        result = FineTuned(
            part=self.part,
            folder=out,
            base_model=base_model,
            data=data,
            examples=examples,
            validation=len(self.validation),  # type: ignore[arg-type]
            steps=steps,
            seconds=round(seconds, 1),
            settings=settings,
            before=before,
            after=self.metrics(),
            details=dict(self.details),
            failed=tuple(self.failed),
        )
        if is_main_process():
            self._write(result)
        return result

    def _write(self, result: FineTuned) -> None:
        """Write weights, configuration, processor and model card."""
        folder = result.folder / self.part
        self.model.save_pretrained(folder)
        self.processor.save_pretrained(folder)
        (folder / "README.md").write_text(model_card(result), "utf-8")
        delete_checkpoints(result.folder / "runs" / self.part)
