"""What an evaluation found, with its bounds, beside what the article reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from florence_rag.evaluation.published import HEADLINES, Task
from florence_rag.types import Failure


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value, and its 95 % bootstrap interval from low to high; None where none was drawn.

    A share is in [0, 1], a rank from 1.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    unit: Literal["share", "rank"] = "share"

    def text(self) -> tuple[str, str]:
        """The value and the interval as people read them."""
        form = "{:.2%}" if self.unit == "share" else "{:g}"
        bounds = "" if self.low is None else f"{form.format(self.low)} to {form.format(self.high)}"
        return form.format(self.value), bounds


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """The figures of one task. counts: what they were measured on. failed: what was left out, and why.

    notes: what else a reader of the figures must know.
    """

    task: Task
    model: str
    counts: Mapping[str, int]
    figures: tuple[Figure, ...]
    failed: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Figure:
        """The figure of a name."""
        return next(figure for figure in self.figures if figure.name == name)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; measured figures are shares, from 0 to 1, or ranks; published ones percentages, as printed."""
        measured = {f.name: {"value": f.value, "low": f.low, "high": f.high} for f in self.figures}
        return {
            "task": self.task,
            "model": self.model,
            "counts": dict(self.counts),
            "figures": measured,
            "florence_percent": [published._asdict() for published in HEADLINES[self.task]],
            "failed": [{"source": failure.source, "reason": failure.reason} for failure in self.failed],
            "notes": list(self.notes),
        }
