"""The result of an evaluation: metrics with confidence intervals, next to the published results of Florence."""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from florence_rag.types import Failure

Task = Literal["retrieval", "video retrieval", "vqa", "classify", "detect", "actions", "relevance"]


_BINS = 10


class Published(NamedTuple):
    """One result of the article, in percent."""

    data: str
    metric: str
    value: float


_TABLES: Any = tomllib.loads(Path(__file__).with_name("headlines.toml").read_text("utf-8"))
HEADLINES: dict[Task, tuple[Published, ...]] = {
    task: tuple(Published(*row) for row in rows) for task, rows in _TABLES.items()
}
"""The headline results of the Florence article by task."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A measured value with its 95 % bootstrap interval, which may be None.

    A share lies in [0, 1]; a rank is at least 1.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    unit: Literal["share", "rank"] = "share"

    def text(self) -> tuple[str, str]:
        """Return the value and the interval for printing."""
        form = "{:.2%}" if self.unit == "share" else "{:g}"
        bounds = "" if self.low is None else f"{form.format(self.low)} to {form.format(self.high)}"
        return form.format(self.value), bounds


class ReliabilityBin(NamedTuple):
    """Answers of similar confidence: their number, their mean confidence, and their accuracy, which should be equal."""

    size: int
    confidence: float
    accuracy: float


def reliability_bins(pairs: Iterable[tuple[float, float]]) -> tuple[ReliabilityBin, ...]:
    """Return the bins of confidence that have answers, from the confidence of each answer and how right it is."""
    bins: dict[int, list[tuple[float, float]]] = {}
    for confidence, right in pairs:
        bins.setdefault(min(int(confidence * _BINS), _BINS - 1), []).append((confidence, right))
    return tuple(ReliabilityBin(len(bins[i]), *np.mean(bins[i], axis=0).tolist()) for i in sorted(bins))


def calibration_error(bins: Sequence[ReliabilityBin]) -> float:
    """Return the mean difference of confidence and accuracy, weighted by the number of answers; NaN without any."""
    total = sum(each.size for each in bins)
    return sum(each.size * abs(each.confidence - each.accuracy) for each in bins) / total if total else float("nan")


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """The metrics of one task, with the size of the data set, the skipped items, and notes for the reader."""

    task: Task
    model: str
    counts: Mapping[str, int]
    metrics: tuple[Metric, ...]
    failed: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()
    reliability: tuple[ReliabilityBin, ...] = ()

    def __getitem__(self, name: str) -> Metric:
        """Return the metric with a name."""
        return next(metric for metric in self.metrics if metric.name == name)

    def to_dict(self) -> dict[str, Any]:
        """Return the report for JSON: measured metrics are shares from 0 to 1 or ranks, published ones percentages."""
        measured = {each.name: {"value": each.value, "low": each.low, "high": each.high} for each in self.metrics}
        return {
            "task": self.task,
            "model": self.model,
            "counts": dict(self.counts),
            "metrics": measured,
            "florence_percent": [published._asdict() for published in HEADLINES.get(self.task, ())],
            "failed": [asdict(failure) for failure in self.failed],
            "notes": list(self.notes),
            "reliability": [each._asdict() for each in self.reliability],
        }
