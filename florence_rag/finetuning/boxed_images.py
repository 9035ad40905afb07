"""Images with bounding boxes, and the batches that detectors are trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from florence_rag.models.detection_processor import DetectionImageProcessor
from florence_rag.types import Box

CROP_PROBABILITY = 0.25
"""Share of the training images that are replaced by a crop of themselves."""
MIN_VISIBLE = 0.5
"""Least share of a box's area that must lie in a crop for the box to stay a target."""


@dataclass(frozen=True)
class BoxedImage:
    """An image with its boxes, (N, 4) xyxy in [0, 1], and the index of each box's label, (N,) int64."""

    image: Image.Image
    boxes: np.ndarray
    classes: np.ndarray


def crop_boxed_image(boxed: BoxedImage, window: Box) -> BoxedImage:
    """Return the window, xyxy in [0, 1], scaled to the size of the image, with the boxes that are visible enough."""
    left, top, right, bottom = window
    width, height = boxed.image.size
    image = boxed.image.resize(
        boxed.image.size, Image.Resampling.BICUBIC, (left * width, top * height, right * width, bottom * height)
    )
    boxes = (boxed.boxes - [left, top, left, top]) / [right - left, bottom - top, right - left, bottom - top]
    clipped = boxes.clip(0, 1)
    visible = _areas(clipped) >= MIN_VISIBLE * _areas(boxes)
    return BoxedImage(image, clipped[visible].astype(np.float32), boxed.classes[visible])


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


@dataclass
class BoxCollator:
    """Turns boxed images into the arguments of DyHeadForObjectDetection.forward."""

    processor: DetectionImageProcessor

    def __call__(self, rows: Sequence[BoxedImage]) -> dict[str, Any]:
        """Return `pixel_values` (B, 3, H, W) and `labels`, one dict of boxes and class labels per image."""
        labels = [{"boxes": torch.from_numpy(row.boxes), "class_labels": torch.from_numpy(row.classes)} for row in rows]
        return {**self.processor([row.image for row in rows]), "labels": labels}
