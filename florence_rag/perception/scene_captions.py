"""Captions from what a detector finds and what METER answers about it: so florence-tiny describes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import compress, islice

import numpy as np
import torch

from florence_rag.errors import InputError
from florence_rag.models.boxes import suppress
from florence_rag.perception.base import BatchVQA, Detection, Detector, VQAResult
from florence_rag.types import Box, Frame

RELATIONS = ("next to", "left of")
"""Asked of two neighbours; the first that is sure is told."""
MOST = 12
"""The most things of one caption; the surest stay."""
ONE_THING = 0.5
"""The overlap, intersection over union, from which two boxes are of one thing."""


class SceneCaptioner:
    """A Captioner that names the things from left to right, with their colours, and how two of them stand.

    "a red car left of a blue bus, and a yellow dog". What is not sure is left out: a thing that the detector passes
    over, a colour or a relation whose answer has less confidence than `sure`, in [0, 1].
    """

    def __init__(self, detector: Detector, vqa: BatchVQA, *, sure: float = 0.5) -> None:
        if not 0 <= sure <= 1:
            raise InputError(f"sure is {sure!r}; give a confidence from 0 to 1")
        self._detector = detector
        self._vqa = vqa
        self._sure = sure

    def caption(self, frames: Sequence[Frame]) -> list[str]:
        """One sentence per frame, (H, W, 3) uint8 RGB; "" where nothing is found."""
        found = self._detector.detect(frames)
        return [self._sentence(frame, _from_left(regions)) for frame, regions in zip(frames, found, strict=True)]

    def _sentence(self, frame: Frame, things: Sequence[Detection]) -> str:
        names = self._named(frame, things)
        pairs = list(zip(names[::2], names[1::2], strict=False))
        parts: list[str] = []
        for pair, relation in zip(pairs, self._relations(frame, pairs), strict=True):
            parts += [f"{pair[0]} {relation} {pair[1]}"] if relation else pair
        return listed(parts + names[2 * len(pairs) :])

    def _named(self, frame: Frame, things: Sequence[Detection]) -> list[str]:
        """Each with its colour, which is asked with all other things blotted out: "the car" may be any of several."""
        boxes = [thing.box for thing in things]
        alone = [_alone(frame, box, boxes) for box in boxes]
        seen = self._vqa.answer_many(alone, [f"What colour is the {thing.label}?" for thing in things])
        return [
            named(thing.label, answer.answer if self._is_sure(answer) else "")
            for thing, answer in zip(things, seen, strict=True)
        ]

    def _relations(self, frame: Frame, pairs: Sequence[tuple[str, str]]) -> list[str]:
        """How the first of each pair stands to the second; "" where that is not sure."""
        questions = [f"Is there {one} {relation} {other}?" for one, other in pairs for relation in RELATIONS]
        seen = iter(self._vqa.answer_many([frame] * len(questions), questions))
        holds = [
            [answer.answer == "yes" and self._is_sure(answer) for answer in islice(seen, len(RELATIONS))] for _ in pairs
        ]
        return [next(compress(RELATIONS, row), "") for row in holds]

    def _is_sure(self, answer: VQAResult) -> bool:
        return (answer.confidence or 0.0) >= self._sure


def named(label: str, color: str = "") -> str:
    """ "a red car", "an umbrella", "a person in blue": the colour of a person is that of the clothes."""
    words = f"{label} in {color}" if color and label == "person" else f"{color} {label}".strip()
    return f"{'an' if words[:1].lower() in tuple('aeiou') else 'a'} {words}"


def listed(parts: Sequence[str]) -> str:
    """ "a, b, and c"."""
    return ", and ".join(filter(None, (", ".join(parts[:-1]), *parts[-1:])))


def _from_left(regions: Sequence[Detection]) -> list[Detection]:
    """The surest; of boxes that are nearly one, which are two names of one thing, the surer."""
    if not regions:
        return []
    boxes = torch.tensor([region.box for region in regions])
    scores = torch.tensor([region.confidence or 0.0 for region in regions])
    kept = suppress(boxes, scores, torch.zeros(len(regions)), ONE_THING)[:MOST]
    return sorted((regions[i] for i in kept.tolist()), key=lambda region: region.box[0] + region.box[2])


def _alone(frame: Frame, box: Box, boxes: Sequence[Box]) -> Frame:
    """The picture with all boxes but one filled with its mean colour."""
    blotted, mean = frame.copy(), frame.mean(axis=(0, 1)).round().astype(np.uint8)
    for other in boxes:
        blotted[_pixels(frame, other)] = mean
    blotted[_pixels(frame, box)] = frame[_pixels(frame, box)]
    return blotted


def _pixels(frame: Frame, box: Box) -> tuple[slice, slice]:
    height, width = frame.shape[:2]
    left, top, right, bottom = box
    rows = slice(int(top * height), math.ceil(bottom * height))
    return rows, slice(int(left * width), math.ceil(right * width))
