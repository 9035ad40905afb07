"""Action recognition on labeled videos, or on the clips of a Kinetics list."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Protocol

import numpy as np

from florence_rag.datasets.videos import VideoClip, clip_frames
from florence_rag.errors import InputError
from florence_rag.evaluation.bootstrap import mean_interval
from florence_rag.evaluation.classify import TOPS
from florence_rag.evaluation.image_reading import Track, read_items
from florence_rag.evaluation.report import EvaluationReport, Metric
from florence_rag.types import Failure, Frame

_MAX_FRAMES = 300


class ClipClassifier(Protocol):
    """A classifier of video clips, such as perception.actions.VideoCoSwinRecognizer."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that the model knows."""
        ...

    @property
    def rate_hz(self) -> float:
        """The number of frames that the model takes from a second."""
        ...

    def classify(self, frames: Sequence[Frame]) -> list[tuple[str, float]]:
        """Return all labels with their confidences for one clip, the likeliest first."""
        ...


def evaluate_actions(
    clips: Sequence[VideoClip], classifier: ClipClassifier, name: str, track: Track = iter
) -> EvaluationReport:
    """Measure top-1, and top-5 if there are more than five labels, on one view of each whole clip.

    Missing and damaged clips are reported. InputError is raised for an unknown label, or if no clip can be read.
    """
    if unknown := sorted({clip.label for clip in clips} - set(classifier.labels)):
        raise InputError(f"{name} does not know the label {unknown[0]!r}; it knows {', '.join(classifier.labels):.200}")
    failed: list[Failure] = []
    frames_of = read_items(
        track(clips),
        "clips",
        lambda clip: list(clip_frames(clip, classifier.rate_hz, _MAX_FRAMES)),
        failed,
        attrgetter("name"),
    )
    ranks = np.array(
        [[label for label, _ in classifier.classify(frames)].index(clip.label) for clip, frames in frames_of]
    )
    right = {k: (ranks < k).astype(float) for k in TOPS if k < len(classifier.labels)}
    metrics = tuple(Metric(f"top-{k}", float(each.mean()), *mean_interval(each)) for k, each in right.items())
    counts = {"clips": len(ranks), "classes": len(classifier.labels)}
    return EvaluationReport("actions", name, counts, metrics, tuple(failed))
