"""What Florence-2 writes, as words, lines and regions.

Its language says where things are by bins of a thousandth of the picture: "a car<loc_52><loc_334><loc_932><loc_774>".
A box is four bins (left, top, right, bottom), a line of text eight (its corners), an outline any number (x, y, x, ...)
with <sep> between the outlines of one thing and <poly> ... </poly> around them.

transformers' processor reads it, too, but gives whole pixels instead of shares of the picture, drops letters that are
not ASCII from labels, and leaves boxes with their corners exchanged. Here nothing raises: of output that was cut short,
or that makes no sense, comes what is whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain

from florence_rag.perception.base import Detection
from florence_rag.types import Box

Point = tuple[float, float]

_BINS = 1000
_LOCATION = re.compile(r"<loc_([0-9]{1,3})>")
_LOCATIONS = re.compile(r"((?:<loc_[0-9]{1,3}>|<sep>|</?poly>)+)")
_MARKS = re.compile(
    r"</?(?:s|pad|unk|mask|image|od|ocr|cap|ncap|dcap|region_cap|region_to_desciption|grounding|ground|seg|proposal"
    r"|box|bbox|obj|and)>"
)


def to_text(output: str) -> str:
    """<CAPTION>, <DETAILED_CAPTION>, <MORE_DETAILED_CAPTION>, <OCR>, answers: the words alone."""
    return _plain(_LOCATIONS.sub(" ", _MARKS.sub("", output)))


def to_lines(output: str) -> list[tuple[str, Box]]:
    """<OCR_WITH_REGION>: each line of text with the upright box around its four corners."""
    lines = ((label, _points(written)) for label, written in _labeled(output))
    return [(label, _box_around(corners[:4])) for label, corners in lines if label and len(corners) >= 4]


def to_regions(output: str) -> list[Detection]:
    """<OD>, <DENSE_REGION_CAPTION>, <REGION_PROPOSAL>, <CAPTION_TO_PHRASE_GROUNDING>, <OPEN_VOCABULARY_DETECTION>.

    One region per box, under the label before it: "" for proposals. The last of these may write outlines instead.
    """
    return [region for label, written in _labeled(output) for region in _regions(label, written)]


def to_outlines(output: str) -> list[Detection]:
    """<REFERRING_EXPRESSION_SEGMENTATION>: each thing with its outlines. One that was cut is closed where it stops."""
    return [region for label, written in _labeled(output) for region in _outlined(label, written)]


def _labeled(output: str) -> Iterator[tuple[str, str]]:
    """Each label and the locations written after it; words without locations at the end are left out."""
    parts = _LOCATIONS.split(_MARKS.sub("", output))
    return ((_plain(label), written) for label, written in zip(parts[::2], parts[1::2], strict=False))


def _regions(label: str, written: str) -> list[Detection]:
    if "<poly>" in written:
        return _outlined(label, written)
    corners = iter(_points(written))
    return [Detection(label, _box_around(pair)) for pair in zip(corners, corners, strict=False)]


def _outlined(label: str, written: str) -> list[Detection]:
    things = ([_points(outline) for outline in thing.split("<sep>")] for thing in re.split("</?poly>", written))
    areas = (tuple(tuple(outline) for outline in thing if len(outline) >= 3) for thing in things)
    return [Detection(label, _box_around([*chain(*area)]), None, area) for area in areas if area]


def _points(written: str) -> list[Point]:
    """The middles of the bins, (x, y) in [0, 1]; a last x without its y is left out."""
    places = ((int(bin_) + 0.5) / _BINS for bin_ in _LOCATION.findall(written))
    return list(zip(places, places, strict=False))


def _box_around(points: Sequence[Point]) -> Box:
    columns, rows = [x for x, _ in points], [y for _, y in points]
    return min(columns), min(rows), max(columns), max(rows)


def _plain(text: str) -> str:
    return " ".join(text.split())
