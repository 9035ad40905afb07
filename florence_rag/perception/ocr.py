"""Words in pictures, read by RapidOCR (PP-OCR models on ONNX Runtime, shipped in its wheel; no network)."""

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
    """A OCRReader for Latin, Chinese and Japanese script. May be used by several threads at once.

    A detector looks for lines of text at reduced size; only what it finds is read, so pictures without words are cheap.

    threads: of one call. min_confidence: below it a line counts as misread. max_side_px: larger pictures are scaled
    down before anything else. detect_side_px: the size at which lines are looked for; half of it is twice as fast and
    misses small print in photographs.
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
            raise InputError("threads must be at least 1, min_confidence in [0, 1], sides at least 64 px")
        self._max_side_px = max_side_px
        self._ocr = RapidOCR(
            params={
                "Global.log_level": "critical",  # it would log to standard error
                "Global.text_score": min_confidence,
                "Global.use_cls": False,  # frames are upright
                "Rec.rec_batch_num": 1,  # together, short lines are padded to the longest
                "Det.limit_type": "max",
                "Det.limit_side_len": detect_side_px,
                "EngineConfig.onnxruntime.intra_op_num_threads": threads,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            }
        )

    def read(self, frame: Frame) -> list[TextRegion]:
        """The lines of text in reading order, their boxes in [0, 1]; empty where there are none."""
        pixels = np.ascontiguousarray(self._scale_down(frame)[:, :, ::-1])  # RapidOCR expects BGR
        found = self._ocr(pixels)
        if not isinstance(found, RapidOCROutput) or found.boxes is None or found.txts is None or found.scores is None:
            return []  # with nothing to read it answers by other types
        height, width = pixels.shape[:2]
        regions = (
            TextRegion(_clean(text), _bounds(corners / (width, height)), float(confidence))
            for corners, text, confidence in zip(found.boxes, found.txts, found.scores, strict=True)
        )
        return _reading_order(region for region in regions if any(char.isalnum() for char in region.text))

    def read_text(self, frame: Frame) -> str:
        """What read() finds, one line of text per line."""
        return "\n".join(region.text for region in self.read(frame))

    def _scale_down(self, frame: Frame) -> Frame:
        if max(frame.shape[:2]) <= self._max_side_px:
            return frame
        image = Image.fromarray(frame)
        image.thumbnail((self._max_side_px, self._max_side_px))
        return np.asarray(image)


def _clean(text: str) -> str:
    """Full-width letters and marks become plain ones, so that words are found as they are typed."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def _bounds(corners: np.ndarray) -> Box:
    """(4, 2) corners in [0, 1] -> the upright box around them."""
    (left, top), (right, bottom) = corners.min(axis=0).clip(0, 1), corners.max(axis=0).clip(0, 1)
    return round(float(left), 4), round(float(top), 4), round(float(right), 4), round(float(bottom), 4)


def _reading_order(regions: Iterable[TextRegion]) -> list[TextRegion]:
    """Line by line from the top; what begins beside the middle of a region is on its line, from left to right."""
    lines: list[list[TextRegion]] = []
    for region in sorted(regions, key=_middle):
        if lines and _middle(region) < lines[-1][0].box[3]:
            lines[-1].append(region)
        else:
            lines.append([region])
    return [region for line in lines for region in sorted(line, key=lambda region: region.box[0])]


def _middle(region: TextRegion) -> float:
    return (region.box[1] + region.box[3]) / 2
