"""Compares a claim with an image, by up to three models that judge independently of each other.

    VQA model    "Is there a red car?", "How many dogs are there?"
    matcher      how well "a red car next to a bus" fits the image
    detector     how many objects there are, and where they stand

Each gives the probability that the claim holds, or nothing if it cannot know: the words are none of the model's, the
answer is neither a number nor yes or no, or the category is none of the detector's. The verdict follows from the mean,
so models that contradict each other leave the claim open.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from florence_rag.answering.claims import NUMBERS, Objects, VisualClaim
from florence_rag.answering.judgment import Judgment
from florence_rag.context import Models
from florence_rag.perception.base import Detection, knows
from florence_rag.tokenize import stem, words
from florence_rag.types import Box, Frame

_DETECTOR_SURE = 0.9
"""The probability that a detector overlooks no object of its categories."""


@dataclass(frozen=True)
class CheckedImage:
    """An image that claims are compared with. Its objects are detected once, for the first claim."""

    frame: Frame
    models: Models

    @cached_property
    def detected(self) -> "_Detected | None":
        """The objects that the detector finds; None without a detector that finds all objects of its labels."""
        return _Detected.in_frame(self.frame, self.models)


def check_image(claim: VisualClaim, image: CheckedImage) -> Judgment | None:
    """Return what the models say about a claim; None if none of them can judge it."""
    frame, models, detected = image.frame, image.models, image.detected
    from_vqa = _ask(claim, frame, models)
    is_stated = from_vqa is None or from_vqa[1]
    votes = (
        from_vqa[0] if from_vqa else None,
        _match(claim, frame, models),
        detected.probability(claim) if detected else None,
    )
    given = [vote for vote in votes if vote is not None]
    if not given:
        return None
    mean = sum(given) / len(given)
    judgment = Judgment(1 - mean if claim.is_negated else mean, is_stated=is_stated)
    if judgment.verdict == "unknown" or not (from_vqa or detected):
        return judgment
    return judgment._replace(box=_box(claim, frame, models, detected))


def _ask(claim: VisualClaim, frame: Frame, models: Models) -> tuple[float, bool] | None:
    """Return the probability by the VQA model, and whether the model states one."""
    is_counted_place = claim.subject.count is not None and claim.relation
    if models.vqa is None or is_counted_place or (claim.relation and claim.other is None):
        return None
    if not knows(vqa := models.vqa.get(), claim.question):
        return None
    result = vqa.answer(frame, claim.question)
    answer, sure = result.answer.casefold(), 1.0 if result.confidence is None else result.confidence
    if claim.subject.count is None:
        holds = {"yes": True, "no": False}.get(answer)
    else:
        number = int(answer) if answer.isdecimal() else NUMBERS.get(answer)
        holds = None if number is None else number == claim.subject.count
    return None if holds is None else (sure if holds else 1 - sure, result.confidence is not None)


def _match(claim: VisualClaim, frame: Frame, models: Models) -> float | None:
    """Return the probability by the matcher, which does not count and knows no sides of the image."""
    if models.matcher is None or claim.subject.count is not None or (claim.relation and claim.other is None):
        return None
    matcher = models.matcher.get()
    return float(matcher.match([frame], [claim.phrase])[0]) if knows(matcher, claim.phrase) else None


@dataclass(frozen=True)
class _Detected:
    """The objects in an image, by a detector that finds all objects of its labels."""

    found: Sequence[Detection]
    labels: tuple[str, ...]

    @classmethod
    def in_frame(cls, frame: Frame, models: Models) -> "_Detected | None":
        detector = models.detector.get() if models.detector else None
        labels = getattr(detector, "labels", ())  # without a list of labels, what is not found may be there
        return cls(detector.detect([frame])[0], tuple(labels)) if detector and labels else None

    def of(self, objects: Objects) -> list[Detection] | None:
        """Return the objects of a category, with any attributes; None if the detector does not know it."""
        named = [stem(word) for word in words(objects.name)]
        labels = {label for label in self.labels if {stem(word) for word in words(label)} <= {*named}}
        last = {label for label in self.labels if stem(words(label)[-1]) == stem(objects.noun)}
        labels = labels & last or last
        return [each for each in self.found if each.label in labels] if labels else None

    def probability(self, claim: VisualClaim) -> float | None:
        """Return the probability of a claim; None if colors or places decide that the detector does not see."""
        subjects = self.of(claim.subject)
        others = self.of(claim.other) if claim.other else []
        if subjects is None or others is None:
            return None
        needed = 1 if claim.subject.count is None else claim.subject.count
        if len(subjects) < needed or (claim.other and not others):
            return 1 - _sure([])
        placed = subjects if not claim.relation else _placed(subjects, claim, others)
        if placed is None:
            return None
        is_plain = self._is_plain(claim.subject) and (claim.other is None or self._is_plain(claim.other))
        if len(placed) < needed:
            return 1 - _sure(subjects)
        if not is_plain:
            return None
        holds = claim.subject.count is None or len(placed) == needed
        return _sure(placed) if holds else 1 - _sure(placed)

    def _is_plain(self, objects: Objects) -> bool:
        """Return whether the category says all about the objects."""
        return any({stem(w) for w in words(objects.name)} <= {stem(w) for w in words(label)} for label in self.labels)


def _sure(found: Sequence[Detection]) -> float:
    """Return the probability that objects are what the detector says."""
    return min((each.confidence for each in found if each.confidence is not None), default=_DETECTOR_SURE)


def _placed(found: Sequence[Detection], claim: VisualClaim, others: Sequence[Detection]) -> list[Detection] | None:
    """Return the objects to the left or right of any of the others, or of the middle; None for other places."""
    side = next((side for side in ("left", "right") if side in claim.relation), None)
    if side is None:
        return None
    centers = [_center(each) for each in others] if claim.other else [0.5]
    if side == "left":
        return [each for each in found if _center(each) < max(centers)]
    return [each for each in found if _center(each) > min(centers)]


def _center(detection: Detection) -> float:
    return (detection.box[0] + detection.box[2]) / 2


def _box(claim: VisualClaim, frame: Frame, models: Models, detected: _Detected | None) -> Box | None:
    """Return the box of the subject, or around all that are counted; without a detector, where the VQA model looks."""
    found = detected.of(claim.subject) if detected else None
    boxes = [each.box for each in found or ()]
    if len(boxes) > 1 and claim.subject.count is not None:
        lefts, tops, rights, bottoms = zip(*boxes, strict=True)
        return min(lefts), min(tops), max(rights), max(bottoms)
    if len(boxes) == 1 or models.attention_vqa is None:
        return boxes[0] if boxes else None
    seen = models.attention_vqa.get().attention_map(frame, claim.question).box
    x, y = (seen[0] + seen[2]) / 2, (seen[1] + seen[3]) / 2
    around = [box for box in boxes if box[0] <= x <= box[2] and box[1] <= y <= box[3]]
    return around[0] if around else seen
