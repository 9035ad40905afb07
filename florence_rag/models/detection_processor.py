"""Prepares images for the detector and turns its outputs into detections."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import AutoImageProcessor

from florence_rag.models.configuration_dyhead import DyHeadDetectorConfig
from florence_rag.models.dyhead import DetectorOutput, found_objects
from florence_rag.models.processing import FlorenceImageProcessor


class DetectionImageProcessor(FlorenceImageProcessor):
    """FlorenceImageProcessor that can also read the detector's output."""

    def post_process_object_detection(
        self,
        outputs: DetectorOutput,
        threshold: float = 0.5,
        target_sizes: Sequence[tuple[int, int]] | Tensor | None = None,
    ) -> list[dict[str, Tensor]]:
        """Return for each image "scores" (N,), "labels" (N,) and "boxes" (N, 4), best first.

        threshold: the least score, in [0, 1]. target_sizes: height and width of each picture; its boxes are then in its
        pixels, otherwise in shares of it. Boxes are left, top, right, bottom. Where fit is "crop", target_sizes are
        needed to know what was cut off; without them boxes are shares of what was left.
        """
        found = found_objects(outputs, threshold=threshold)
        if target_sizes is None:
            return found
        for each, (height, width) in zip(found, torch.as_tensor(target_sizes).tolist(), strict=True):
            each["boxes"] = self._whole(each["boxes"], width, height)
        return found

    def _whole(self, boxes: Tensor, width: int, height: int) -> Tensor:
        """Convert fractions of the network's input to pixels of the image."""
        left, top, right, bottom = self.view(width, height)
        size = boxes.new_tensor([right - left, bottom - top]).repeat(2)
        corner = boxes.new_tensor([left, top]).repeat(2)
        return (boxes * size + corner) * boxes.new_tensor([width, height]).repeat(2)


AutoImageProcessor.register(DyHeadDetectorConfig, image_processor_classes={"pil": DetectionImageProcessor})
