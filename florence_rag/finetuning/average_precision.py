"""The average precision of detected boxes at one IoU threshold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from florence_rag.finetuning.boxed_images import BoxedImage
from florence_rag.models.boxes import iou

MIN_IOU = 0.5
"""The least IoU of a right detection with its annotated box (AP50)."""


@dataclass(slots=True)
class MatchedBoxes:
    """Detections by label: their confidences with whether they are right, and the number of annotated boxes."""

    detections: dict[int, list[tuple[float, bool]]] = field(default_factory=dict)
    annotated: dict[int, int] = field(default_factory=dict)

    def add(self, image: BoxedImage, found: Mapping[str, Any]) -> None:
        """Match the detections of an image, best first, each to the free box of its label with the largest IoU.

        `found` has scores (N,), labels (N,) and boxes (N, 4) xyxy in [0, 1].
        """
        labels = image.classes.tolist()
        for label in labels:
            self.annotated[label] = self.annotated.get(label, 0) + 1
        boxes, taken = torch.from_numpy(image.boxes), [False] * len(labels)
        for score, label, box in zip(found["scores"], found["labels"].tolist(), found["boxes"], strict=True):
            free = [i for i, own in enumerate(labels) if own == label and not taken[i]]
            overlaps = iou(box, boxes[free]).tolist() if free else []
            best = max(range(len(free)), key=overlaps.__getitem__, default=None)
            right = best is not None and overlaps[best] >= MIN_IOU
            if right and best is not None:
                taken[free[best]] = True
            self.detections.setdefault(label, []).append((float(score), right))

    def mean_average_precision(self) -> float | None:
        """Return the mean over the annotated labels, or None if there are none."""
        values = [average_precision(self.detections.get(label, []), count) for label, count in self.annotated.items()]
        return sum(values) / len(values) if values else None


def average_precision(detections: list[tuple[float, bool]], annotated: int) -> float:
    """Return the area below precision over recall, where each precision is the best at its recall or a higher one."""
    right = np.cumsum([hit for _, hit in sorted(detections, key=lambda each: -each[0])] or [False])
    precision = np.maximum.accumulate((right / np.arange(1, len(right) + 1))[::-1])[::-1]
    gained = np.diff(right, prepend=0) > 0
    return float((precision * gained).sum() / annotated)
