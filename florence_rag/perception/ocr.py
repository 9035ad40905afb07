"""Reads text in images with RapidOCR (PP-OCR models on ONNX Runtime; its wheel contains the weights)."""

import unicodedata
from collections.abc import Iterable

import numpy as np
from PIL import Image
from rapidocr import RapidOCR
from rapidocr.utils.output import RapidOCROutput

from florence_rag.errors import InputError
from florence_rag.perception.base import TextRegion
from florence_rag.types import Frame


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
        if max(frame.shape[:2]) > self._max_side_px:
            image = Image.fromarray(frame)
            image.thumbnail((self._max_side_px, self._max_side_px))
            frame = np.asarray(image)
        found = self._ocr(np.ascontiguousarray(frame[:, :, ::-1]))  # RapidOCR expects BGR
        if not isinstance(found, RapidOCROutput) or found.boxes is None or found.txts is None or found.scores is None:
            return []  # an image without text gives results of other types
        height, width = frame.shape[:2]
        regions = []
        for corners, text, confidence in zip(found.boxes, found.txts, found.scores, strict=True):
            shares = (corners / (width, height)).clip(0, 1)  # (4, 2)
            left, top, right, bottom = (round(float(edge), 4) for edge in (*shares.min(axis=0), *shares.max(axis=0)))
            # NFKC replaces full-width characters by ordinary ones, so that a search finds them as they are typed.
            plain = " ".join(unicodedata.normalize("NFKC", text).split())
            if any(map(str.isalnum, plain)):
                regions.append(TextRegion(plain, (left, top, right, bottom), float(confidence)))
        return _reading_order(regions)


def _reading_order(regions: Iterable[TextRegion]) -> list[TextRegion]:
    """Sort regions into lines from the top, and each line from the left.

    A region belongs to a line if its middle is above the bottom of the line's first region.
    """

    def middle(region: TextRegion) -> float:
        return (region.box[1] + region.box[3]) / 2

    lines: list[list[TextRegion]] = []
    for region in sorted(regions, key=middle):
        if lines and middle(region) < lines[-1][0].box[3]:
            lines[-1].append(region)
        else:
            lines.append([region])
    return [region for line in lines for region in sorted(line, key=lambda region: region.box[0])]
