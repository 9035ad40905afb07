"""Reads text in images with RapidOCR (PP-OCR models on ONNX Runtime; its wheel contains the weights)."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

import numpy as np
from PIL import Image
from rapidocr import RapidOCR
from rapidocr.utils.output import RapidOCROutput

from florence_rag.errors import InputError
from florence_rag.perception.base import TextRegion
from florence_rag.types import Box, Frame


class RapidOcrReader:
    """An `OCRReader` for Latin, Chinese and Japanese script. Threads may share it.

    Images are first scaled down to `max_side_px`. A detector then finds lines of text at `detect_side_px`: half of it
    is twice as fast, and misses small print in photographs. Only detected lines are read, so that images without text
    are cheap; lines below `min_confidence` are dropped. One call uses `threads` threads.
    """

    def __init__(
        self,
        *,
        threads: int = 1,
        min_confidence: float = 0.6,
        max_side_px: int = 1600,
        detect_side_px: int = 960,
    ) -> None:
        if threads < 1 or not 0 <= min_confidence <= 1 or min(max_side_px, detect_side_px) < 64:
            raise InputError(
                f"{threads=}, {min_confidence=}, {max_side_px=}, {detect_side_px=}: give at least 1, [0, 1], and 64 px"
            )
        self._max_side_px = max_side_px
        self._ocr = RapidOCR(
            params={
                "Global.log_level": "critical",  # RapidOCR logs to standard error
                "Global.text_score": min_confidence,
                "Global.use_cls": False,  # frames are upright
                "Rec.rec_batch_num": 1,  # in a batch, short lines are padded to the longest
                "Det.limit_type": "max",
                "Det.limit_side_len": detect_side_px,
                "EngineConfig.onnxruntime.intra_op_num_threads": threads,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            }
        )

    def read(self, frame: Frame) -> list[TextRegion]:
        """Read the lines of text in an RGB image (H, W, 3) uint8, in reading order."""
        pixels = np.ascontiguousarray(self._scale_down(frame)[:, :, ::-1])  # RapidOCR expects BGR
        found = self._ocr(pixels)
        if not isinstance(found, RapidOCROutput) or found.boxes is None or found.txts is None or found.scores is None:
            return []  # an image without text gives results of other types
        height, width = pixels.shape[:2]
        regions = (
            TextRegion(_clean(text), _bounds(corners / (width, height)), float(confidence))
            for corners, text, confidence in zip(found.boxes, found.txts, found.scores, strict=True)
        )
        return _reading_order(region for region in regions if any(char.isalnum() for char in region.text))

    def _scale_down(self, frame: Frame) -> Frame:
        if max(frame.shape[:2]) <= self._max_side_px:
            return frame
        image = Image.fromarray(frame)
        image.thumbnail((self._max_side_px, self._max_side_px))
        return np.asarray(image)


def _clean(text: str) -> str:
    """Replace full-width characters by ordinary ones, so that a search finds them as they are typed."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def _bounds(corners: np.ndarray) -> Box:
    """Return the upright box around (4, 2) corners in [0, 1]."""
    (left, top), (right, bottom) = corners.min(axis=0).clip(0, 1), corners.max(axis=0).clip(0, 1)
    return round(float(left), 4), round(float(top), 4), round(float(right), 4), round(float(bottom), 4)


def _reading_order(regions: Iterable[TextRegion]) -> list[TextRegion]:
    """Sort regions into lines from the top, and each line from the left.

    A region belongs to a line if its middle is above the bottom of the line's first region.
    """
    lines: list[list[TextRegion]] = []
    for region in sorted(regions, key=_middle):
        if lines and _middle(region) < lines[-1][0].box[3]:
            lines[-1].append(region)
        else:
            lines.append([region])
    return [region for line in lines for region in sorted(line, key=lambda region: region.box[0])]


def _middle(region: TextRegion) -> float:
    return (region.box[1] + region.box[3]) / 2
