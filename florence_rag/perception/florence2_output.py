"""Parses the output of Florence-2 into texts, lines and regions.

Its language has locations in bins of a thousandth of the image: "a car<loc_52><loc_334><loc_932><loc_774>". A box has
four bins (left, top, right, bottom), a line of text eight (its corners), an outline any number (x, y, x, ...), with
<sep> between the outlines of one object and <poly> ... </poly> around them.

The parser of transformers gives pixels instead of fractions of width and height, drops characters of labels that are
not ASCII, and keeps boxes whose corners are exchanged. This parser raises no errors: it returns the complete parts of
an output that was truncated or makes no sense.
"""

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
    """Read the text of <CAPTION>, <DETAILED_CAPTION>, <MORE_DETAILED_CAPTION>, <OCR> and of answers."""
    return " ".join(_LOCATIONS.sub(" ", _MARKS.sub("", output)).split())


def to_lines(output: str) -> list[tuple[str, Box]]:
    """Read <OCR_WITH_REGION>: each line of text with the upright box around its four corners."""
    lines = [(label, _points(locations)) for label, locations in _labeled(output)]
    return [(label, _box_around(corners[:4])) for label, corners in lines if label and len(corners) >= 4]


def to_regions(output: str) -> list[Detection]:
    """Read <OD>, <DENSE_REGION_CAPTION>, <REGION_PROPOSAL>, <CAPTION_TO_PHRASE_GROUNDING>, <OPEN_VOCABULARY_DETECTION>.

    Every box becomes a region with the label before it, "" for proposals. The last of these tasks may output outlines.
    """
    regions: list[Detection] = []
    for label, locations in _labeled(output):
        if "<poly>" in locations:
            regions += _outlined(label, locations)
        else:
            corners = iter(_points(locations))
            regions += [Detection(label, _box_around(pair)) for pair in zip(corners, corners, strict=False)]
    return regions


def to_outlines(output: str) -> list[Detection]:
    """Read <REFERRING_EXPRESSION_SEGMENTATION>: each object with its outlines. A truncated outline is closed."""
    return [region for label, locations in _labeled(output) for region in _outlined(label, locations)]


def _labeled(output: str) -> Iterator[tuple[str, str]]:
    """Return each label with the locations after it; a text at the end without locations is dropped."""
    parts = _LOCATIONS.split(_MARKS.sub("", output))
    return ((" ".join(label.split()), locations) for label, locations in zip(parts[::2], parts[1::2], strict=False))


def _outlined(label: str, locations: str) -> list[Detection]:
    objects = ([_points(outline) for outline in part.split("<sep>")] for part in re.split("</?poly>", locations))
    areas = (tuple(tuple(outline) for outline in outlines if len(outline) >= 3) for outlines in objects)
    return [Detection(label, _box_around([*chain(*area)]), None, area) for area in areas if area]


def _points(locations: str) -> list[Point]:
    """Return the centers of the bins, (x, y) in [0, 1]; a last x without its y is dropped."""
    values = ((int(bin_) + 0.5) / _BINS for bin_ in _LOCATION.findall(locations))
    return list(zip(values, values, strict=False))


def _box_around(points: Sequence[Point]) -> Box:
    columns, rows = [x for x, _ in points], [y for _, y in points]
    return min(columns), min(rows), max(columns), max(rows)
