"""Reads large images in overlapping tiles, and joins the lines that the border between two tiles cuts."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from math import ceil

import numpy as np
from PIL import Image

from florence_rag.perception.base import TextRegion
from florence_rag.types import Box, Frame

TILE_PX = 1200
"""The longest side of a tile, near the size to which text detectors scale images."""
OVERLAP_PX = 240
"""What adjacent tiles share, so that lines up to this height lie whole in one of them."""
_LEGIBLE_PX = 24  # the height of a line, with its margin, that is read well
_FEW_LINES = 5  # a photograph with a few distant signs is no document
_LONG = 3  # the overview of an image with a longer ratio of sides does not show whether there is text
_MAX_SHORTER_PX = 2000  # the shorter side of long images
_SLACK_PX = 8  # two tiles find slightly different boxes for the same line


def tiled_scale(size: tuple[int, int], overview_px: int, lines: Sequence[TextRegion]) -> float | None:
    """Return the scale at which an image is to be read in tiles; None if its overview is enough.

    Args:
        size: (height, width) of the image.
        overview_px: The longer side of the overview, a smaller copy of the image.
        lines: The lines that were found in the overview, with any confidence.
    """
    shorter, longer = sorted(size)
    if longer <= overview_px:
        return None
    if longer > _LONG * shorter:
        return min(1.0, _MAX_SHORTER_PX / shorter)
    if len(lines) < _FEW_LINES:
        return None
    heights_px = [_line_height(_scaled(line.box, size)) for line in lines]
    scale = min(1.0, _LEGIBLE_PX / float(np.quantile(heights_px, 0.25)))
    return scale if scale * longer > 1.25 * overview_px else None


def read_tiles(frame: Frame, scale: float, read: Callable[[Frame], list[TextRegion]]) -> list[TextRegion]:
    """Read an image (H, W, 3) at a scale, tile by tile; return each line once, with its box in the image."""
    height, width = (max(1, round(side * scale)) for side in frame.shape[:2])
    if scale < 1:
        frame = np.asarray(Image.fromarray(frame).resize((width, height), reducing_gap=2.0))
    lines: list[TextRegion] = []
    for top, bottom in _intervals(height):
        for left, right in _intervals(width):
            tile = frame[top:bottom, left:right]
            for line in read(tile):
                box = _scaled(line.box, tile.shape[:2], (left, top))
                if _lies_whole(box, top, bottom, height):
                    _add(replace(line, box=box), lines)
    return [replace(line, box=_scaled(line.box, (1 / height, 1 / width))) for line in lines]


def _intervals(length: int) -> list[tuple[int, int]]:
    """Cut a length into equal parts of at most TILE_PX that overlap by OVERLAP_PX."""
    count = max(1, ceil((length - OVERLAP_PX) / (TILE_PX - OVERLAP_PX)))
    part = ceil((length + (count - 1) * OVERLAP_PX) / count)
    starts = [min(i * (part - OVERLAP_PX), max(0, length - part)) for i in range(count)]
    return [(start, min(length, start + part)) for start in starts]


def _scaled(box: Box, size: tuple[float, float], origin: tuple[int, int] = (0, 0)) -> Box:
    """Return a box times (height, width), moved by origin (x, y)."""
    (height, width), (x, y) = size, origin
    left, top, right, bottom = box
    return left * width + x, top * height + y, right * width + x, bottom * height + y


def _line_height(box: Box) -> float:
    """Return the height of a line of horizontal or vertical text."""
    return min(box[2] - box[0], box[3] - box[1])


def _lies_whole(box: Box, top: int, bottom: int, height: int) -> bool:
    """Return whether the middle of a line is not so near to a cut that the next tile shows it better."""
    middle, margin = (box[1] + box[3]) / 2, OVERLAP_PX / 2 - _SLACK_PX
    return (top == 0 or middle >= top + margin) and (bottom == height or middle <= bottom - margin)


def _add(line: TextRegion, lines: list[TextRegion]) -> None:
    """Add a line, joined with the line of an earlier tile that shows the same or its beginning."""
    for i, other in enumerate(lines):
        height = min(_line_height(line.box), _line_height(other.box))
        (l1, t1, r1, b1), (l2, t2, r2, b2) = line.box, other.box
        if min(r1, r2) - max(l1, l2) > height / 2 and min(b1, b2) - max(t1, t2) > height / 2:
            lines[i] = _joined(*sorted((line, other), key=lambda each: (each.box[0], -each.box[2])))
            return
    lines.append(line)


def _joined(first: TextRegion, second: TextRegion) -> TextRegion:
    """Return two views of one line as one: the longer if it contains the other, else both without what they share."""
    if second.box[2] <= first.box[2] + _SLACK_PX:
        return first
    if second.box[0] <= first.box[0] + _SLACK_PX:
        return second
    shared_px = first.box[2] - second.box[0]
    tail, head = (ceil(len(each.text) * shared_px / (each.box[2] - each.box[0])) + 2 for each in (first, second))
    start = max(0, len(first.text) - tail)
    match = SequenceMatcher(None, first.text[start:], second.text[:head], autojunk=False).find_longest_match()
    text = first.text[: start + match.a] + second.text[match.b :] if match.size else f"{first.text} {second.text}"
    (l1, t1, _, b1), (_, t2, r2, b2) = first.box, second.box
    return TextRegion(text, (l1, min(t1, t2), r2, max(b1, b2)), min(first.confidence, second.confidence))
