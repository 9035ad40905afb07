"""The result of an evaluation: metrics with confidence intervals, next to the published results of Florence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

from florence_rag.types import Failure

Task = Literal["retrieval", "video retrieval", "vqa", "classify", "detect", "actions"]


class Published(NamedTuple):
    """One result of the article, in percent."""

    data: str
    metric: str
    value: float


# The headline results of the Florence article (arXiv 2111.11432), whose weights were never released.
HEADLINES: dict[Task, tuple[Published, ...]] = {
    "retrieval": (
        Published("Flickr30k, zero-shot", "image to text R@1", 90.9),
        Published("Flickr30k, zero-shot", "text to image R@1", 76.7),
        Published("Flickr30k, fine-tuned", "image to text R@1", 97.2),
        Published("Flickr30k, fine-tuned", "text to image R@1", 87.9),
        Published("COCO, zero-shot", "image to text R@1", 64.7),
        Published("COCO, zero-shot", "text to image R@1", 47.2),
        Published("COCO, fine-tuned", "image to text R@1", 81.8),
        Published("COCO, fine-tuned", "text to image R@1", 63.2),
    ),
    "video retrieval": (Published("MSR-VTT, zero-shot", "text to video R@1", 37.6),),
    "vqa": (Published("VQAv2 test-dev", "accuracy", 80.16), Published("VQAv2 test-std", "accuracy", 80.36)),
    "classify": (Published("ImageNet, zero-shot", "top-1", 83.7), Published("ImageNet, zero-shot", "top-5", 97.2)),
    "detect": (
        Published("COCO", "AP", 62.4),
        Published("Object365", "AP", 39.3),
        Published("Visual Genome", "AP50", 16.2),
    ),
    "actions": (Published("Kinetics-400", "top-1", 86.5), Published("Kinetics-600", "top-1", 87.8)),
}


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


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """The metrics of one task, with the size of the data set, the skipped items, and notes for the reader."""

    task: Task
    model: str
    counts: Mapping[str, int]
    metrics: tuple[Metric, ...]
    failed: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()

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
            "florence_percent": [published._asdict() for published in HEADLINES[self.task]],
            "failed": [asdict(failure) for failure in self.failed],
            "notes": list(self.notes),
        }
