"""How to train, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from florence_rag.errors import InputError
from florence_rag.types import Failure

Precision = Literal["auto", "fp32", "bf16", "fp16"]


@dataclass(frozen=True, slots=True)
class Settings:
    """How to train.

    epochs: passes over the data; steps: of the optimiser, instead of epochs. batch: examples in a step, on each device.
    learning_rate: the largest, after the warm-up; None chooses by the size of the network. precision: "auto" is bf16,
    or else fp16, on a GPU and fp32 elsewhere. validation: share of the data that is not learned from, in (0, 0.5],
    where the data do not say themselves what that is. checks: how often the validation data are looked at, and a
    checkpoint is kept; patience: end after so many checks that were no better. workers: processes that load data.
    """

    epochs: float = 10
    steps: int | None = None
    batch: int = 32
    learning_rate: float | None = None
    precision: Precision = "auto"
    validation: float = 0.1
    checks: int = 10
    patience: int | None = None
    workers: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.validation <= 0.5:
            raise InputError(f"validation is {self.validation!r}; it is a share of the data above 0, 0.5 at most")
        for name in ("epochs", "steps", "batch", "learning_rate", "checks", "patience"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise InputError(f"{name} is {value!r}; it must be above 0")


class Step(NamedTuple):
    """How far a run is: step of steps, and the last loss of training."""

    step: int
    steps: int
    loss: float | None


Progress = Callable[[Step], None]


@dataclass(frozen=True, slots=True)
class FineTuned:
    """A model that was trained.

    part: "florence", "meter", "detector" or "video"; folder: opens by name. start: the model it started from. examples,
    validation: how many were learned from, and how many left out. before, after: figures on those that were left out.
    failed: files that could not be read.
    """

    part: str
    folder: Path
    start: str
    data: tuple[str, ...]
    examples: int
    validation: int
    steps: int
    seconds: float
    settings: Settings
    before: dict[str, float]
    after: dict[str, float]
    about: dict[str, Any]
    failed: tuple[Failure, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        failed = [{"source": failure.source, "reason": failure.reason} for failure in self.failed]
        return {**asdict(self), "folder": str(self.folder), "data": list(self.data), "failed": failed}
