"""Captions that combine the objects of a detector with the answers of METER, for florence-tiny."""

import math
from collections.abc import Sequence
from itertools import compress
from typing import Protocol

import numpy as np
import torch

from florence_rag.batching import batched
from florence_rag.errors import InputError
from florence_rag.models.boxes import suppress
from florence_rag.perception.base import Detection, Detector, VQAResult
from florence_rag.types import Box, Frame

RELATIONS = ("next to", "left of")
"""The relations to ask about two neighboring objects; the caption states the first one that is confirmed."""
MAX_OBJECTS = 12
"""The number of objects in one caption, by descending confidence."""
SAME_OBJECT_IOU = 0.5
"""The intersection over union from which two boxes show the same object."""


class BatchVQA(Protocol):
    """Answers several questions in one forward pass."""

    def answer_many(self, frames: Sequence[Frame], questions: Sequence[str]) -> list[VQAResult]:
        """Answer question i about image i."""
        ...


class SceneCaptioner:
    """A `Captioner` that lists the objects from left to right with their colors, and the relations of neighbors.

    An example is "a red car left of a blue bus, and a yellow dog". Colors and relations whose answer has less than
    `min_confidence`, in [0, 1], are omitted.
    """

    def __init__(self, detector: Detector, vqa: BatchVQA, *, min_confidence: float = 0.5) -> None:
        if not 0 <= min_confidence <= 1:
            raise InputError(f"min_confidence is {min_confidence!r}; give a confidence from 0 to 1")
        self._detector = detector
        self._vqa = vqa
        self._min_confidence = min_confidence

    def caption(self, frames: Sequence[Frame]) -> list[str]:
        """Write one phrase per RGB image (H, W, 3) uint8; an empty one if no object is found."""
        found = self._detector.detect(frames)
        return [self._sentence(frame, _from_left(regions)) for frame, regions in zip(frames, found, strict=True)]

    def _sentence(self, frame: Frame, objects: Sequence[Detection]) -> str:
        names = self._names(frame, objects)
        pairs = list(zip(names[::2], names[1::2], strict=False))
        parts: list[str] = []
        for pair, relation in zip(pairs, self._relations(frame, pairs), strict=True):
            parts += [f"{pair[0]} {relation} {pair[1]}"] if relation else pair
        return join_phrases(parts + names[2 * len(pairs) :])

    def _names(self, frame: Frame, objects: Sequence[Detection]) -> list[str]:
        """Name each object with its color. All others are hidden, since "the car" may be any of several."""
        boxes = [each.box for each in objects]
        isolated = [_isolate(frame, box, boxes) for box in boxes]
        answers = self._vqa.answer_many(isolated, [f"What colour is the {each.label}?" for each in objects])
        colors = [answer.answer if self._is_sure(answer) else "" for answer in answers]
        return [object_phrase(each.label, color) for each, color in zip(objects, colors, strict=True)]

    def _relations(self, frame: Frame, pairs: Sequence[tuple[str, str]]) -> list[str]:
        """Return the relation of the first to the second of each pair; "" if none is confirmed."""
        questions = [f"Is there {one} {relation} {other}?" for one, other in pairs for relation in RELATIONS]
        answers = self._vqa.answer_many([frame] * len(questions), questions)
        holds = [answer.answer == "yes" and self._is_sure(answer) for answer in answers]
        return [next(compress(RELATIONS, row), "") for row in batched(holds, len(RELATIONS))]

    def _is_sure(self, answer: VQAResult) -> bool:
        return (answer.confidence or 0.0) >= self._min_confidence


def object_phrase(label: str, color: str = "") -> str:
    """Return "a red car", "an umbrella" or "a person in blue": the color of a person is that of the clothes."""
    phrase = f"{label} in {color}" if color and label == "person" else f"{color} {label}".strip()
    return f"{'an' if phrase[:1].lower() in tuple('aeiou') else 'a'} {phrase}"


def join_phrases(parts: Sequence[str]) -> str:
    """Join phrases as "a, b, and c"."""
    return ", and ".join(filter(None, (", ".join(parts[:-1]), *parts[-1:])))


def _from_left(detections: Sequence[Detection]) -> list[Detection]:
    """Sort from the left, after dropping the less confident of two boxes around the same object."""
    if not detections:
        return []
    boxes = torch.tensor([each.box for each in detections])
    scores = torch.tensor([each.confidence or 0.0 for each in detections])
    rows = suppress(boxes, scores, torch.zeros(len(detections)), SAME_OBJECT_IOU)[:MAX_OBJECTS]
    return sorted((detections[i] for i in rows.tolist()), key=lambda each: each.box[0] + each.box[2])


def _isolate(frame: Frame, box: Box, boxes: Sequence[Box]) -> Frame:
    """Fill all boxes but one with the mean color of the image."""
    isolated, mean = frame.copy(), frame.mean(axis=(0, 1)).round().astype(np.uint8)
    for other in boxes:
        isolated[_pixels(frame, other)] = mean
    isolated[_pixels(frame, box)] = frame[_pixels(frame, box)]
    return isolated


def _pixels(frame: Frame, box: Box) -> tuple[slice, slice]:
    height, width = frame.shape[:2]
    left, top, right, bottom = box
    rows = slice(int(top * height), math.ceil(bottom * height))
    return rows, slice(int(left * width), math.ceil(right * width))
