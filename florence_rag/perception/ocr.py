"""Reads text in images with RapidOCR (PP-OCR models on ONNX Runtime; its wheel contains the weights)."""

import unicodedata
from collections.abc import Iterable
from math import ceil

import numpy as np
from PIL import Image
from rapidocr import RapidOCR
from rapidocr.utils.output import RapidOCROutput

from florence_rag.errors import InputError
from florence_rag.perception.base import TextRegion
from florence_rag.perception.ocr_tiles import read_tiles, tiled_scale
from florence_rag.types import Frame

_LARGE = 0.15  # of the height of the image


class RapidOcrReader:
    """An `OCRReader` for Latin, Chinese and Japanese script. Threads may share it.

    Images are first scaled down to `max_side_px`. A detector then finds lines of text at `detect_side_px`: half of it
    is twice as fast, and misses small print in photographs. Only detected lines are read, so that images without text
    are cheap. Larger images that are very long, or full of small print, are read again in tiles.

    Lines below `min_confidence` are dropped. Lines of less than seven letters need more, up to 0.9 by default, because
    what is no text is read as a short word, and most of all a single large letter. One call uses `threads` threads.
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
        self._max_side_px, self._min_confidence = max_side_px, min_confidence
        self._ocr = RapidOCR(
            params={
                "Global.log_level": "critical",  # RapidOCR logs to standard error
                "Global.text_score": 0.0,  # each line is judged by its length, too
                "Global.use_cls": False,  # frames are upright
                "Rec.rec_batch_num": 1,  # in a batch, short lines are padded to the longest
                "Det.limit_type": "max",
                "Det.limit_side_len": detect_side_px,
                "EngineConfig.onnxruntime.enable_cpu_mem_arena": True,  # else each pass asks the system for memory
                "EngineConfig.onnxruntime.intra_op_num_threads": threads,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            }
        )

    def read(self, frame: Frame) -> list[TextRegion]:
        """Read the lines of text in an RGB image (H, W, 3) uint8, in reading order."""
        lines = self._read(frame)
        if scale := tiled_scale(frame.shape[:2], self._max_side_px, lines):
            lines = read_tiles(frame, scale, self._read)
        return _reading_order(line for line in lines if line.confidence >= self._required_confidence(line))

    def _required_confidence(self, line: TextRegion) -> float:
        """Return the confidence that a line needs: to the recognizer, windows are short words and a tree is an 8."""
        is_shape = len(set(line.text)) == 1 and line.box[3] - line.box[1] > _LARGE
        doubt = 1 / 200 if is_shape else min(1.0, ceil(sum(map(str.isalnum, line.text)) / 2) / 4)
        return 1 - (1 - self._min_confidence) * doubt

    def _read(self, frame: Frame) -> list[TextRegion]:
        """Read the lines in a frame that is first scaled down to `max_side_px`, with any confidence."""
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
        return regions


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
