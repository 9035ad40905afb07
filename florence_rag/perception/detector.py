"""Finds objects of a fixed list of categories, with Dynamic Head over CoSwin."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from florence_rag.batching import batched
from florence_rag.errors import InputError
from florence_rag.models.dyhead import DyHeadForObjectDetection
from florence_rag.models.processing import DetectionImageProcessor
from florence_rag.models.strict_loading import open_with_processor
from florence_rag.perception.base import Detection
from florence_rag.types import Frame


class DyHeadDetector:
    """A `Detector` of the categories in `labels`. Threads may share it.

    Detections below the confidence `threshold`, in [0, 1], are dropped; `batch` is the number of images per forward
    pass.
    """

    def __init__(
        self,
        model: DyHeadForObjectDetection,
        processor: DetectionImageProcessor,
        *,
        threshold: float = 0.5,
        batch: int = 16,
    ) -> None:
        if not 0 <= threshold <= 1:
            raise InputError(f"threshold is {threshold!r}; give a confidence from 0 to 1")
        self._model = model.eval()
        self._processor = processor
        self._threshold = threshold
        self._batch = batch
        self.labels: tuple[str, ...] = tuple((model.config.id2label or {}).values())

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, *, name: str, device: str | None = None, threshold: float = 0.5
    ) -> DyHeadDetector:
        """Load a folder that `save_pretrained` wrote, by default onto a GPU if there is one."""
        model, processor = open_with_processor(
            DyHeadForObjectDetection, DetectionImageProcessor, folder, name=name, what="a detector", device=device
        )
        return cls(model, processor, threshold=threshold)

    @torch.inference_mode()
    def detect(self, frames: Sequence[Frame]) -> list[list[Detection]]:
        """Find the objects in RGB images (H, W, 3) uint8: for each image, by descending confidence."""
        detections = []
        for part in batched(frames, self._batch):
            pixels = self._processor(part)["pixel_values"].to(self._model.device)
            sizes = [frame.shape[:2] for frame in part]
            found = self._processor.post_process_object_detection(
                self._model(pixels), threshold=self._threshold, target_sizes=sizes
            )
            for each, (height, width) in zip(found, sizes, strict=True):
                size = each["boxes"].new_tensor([width, height, width, height])
                boxes = map(tuple, (each["boxes"] / size).double().clamp(0, 1).tolist())
                rows = zip(each["labels"].tolist(), boxes, each["scores"].tolist(), strict=True)
                detections.append([Detection(self.labels[label], box, round(score, 4)) for label, box, score in rows])
        return detections
