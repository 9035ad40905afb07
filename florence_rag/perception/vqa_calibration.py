"""Turns the confidence of a VQA model into the probability that its answer is right.

Platt scaling maps the log-odds of a confidence by a slope, the inverse of a temperature, and an offset. It needs only
the confidence, so it fits models that choose an answer and models that generate one. Each type of answer has its own,
because models are not equally sure of colors and of numbers. `florence-rag eval vqa --calibrate` fits them and stores
them in the folder of the model.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self, TypeGuard, get_args

import numpy as np

from florence_rag.errors import ModelError
from florence_rag.models.registry import read_json
from florence_rag.perception.base import VisualQA, VQAResult, knows
from florence_rag.types import Frame

AnswerType = Literal["yes/no", "number", "other"]
"""The types of answers of VQAv2."""
CALIBRATION_FILE = "vqa_calibration.json"
"""The name of the file in the folder of a model."""
_LEAST = 1e-4  # confidences are rounded to four digits
_STEPS = 50


def answer_type(answer: str) -> AnswerType:
    """Return the type of an answer."""
    if answer.casefold() in ("yes", "no"):
        return "yes/no"
    return "number" if answer.isdecimal() else "other"


@dataclass(frozen=True, slots=True)
class PlattScaling:
    """The parameters of Platt scaling: probability = sigmoid(slope * log-odds of the confidence + offset)."""

    slope: float = 1.0
    offset: float = 0.0

    def probability(self, confidence: float) -> float:
        """Return the probability that an answer of this confidence is right."""
        exponent = self.slope * float(_log_odds(confidence)) + self.offset
        return round(1 / (1 + math.exp(min(-exponent, 500.0))), 4)

    @classmethod
    def fit(cls, confidences: Sequence[float], right: Sequence[float]) -> Self:
        """Fit the parameters by Newton's method to how right the answers are, each in [0, 1].

        A weak prior keeps them near those that change nothing, so that a few answers, or only right ones, have a fit.
        """
        features = np.column_stack([_log_odds(np.asarray(confidences)), np.ones(len(confidences))])
        unchanged = parameters = np.array([1.0, 0.0])
        for _ in range(_STEPS):
            expected = 1 / (1 + np.exp(-features @ parameters))
            gradient = features.T @ (expected - np.asarray(right)) + parameters - unchanged
            curvature = (features.T * (expected * (1 - expected))) @ features + np.eye(2)
            step = np.linalg.solve(curvature, gradient)
            parameters = parameters - step / max(1.0, float(np.linalg.norm(step)))
        slope, offset = parameters.tolist()
        if slope < 0:  # the confidence misleads: all answers have the probability that one is right
            slope, offset = 0.0, float(_log_odds((sum(right) + 1) / (len(right) + 2)))
        return cls(slope, offset)


@dataclass(frozen=True, slots=True)
class VQACalibration:
    """The scaling of each type of answer; a type without one keeps its confidence."""

    scalings: Mapping[AnswerType, PlattScaling] = field(default_factory=dict)

    def scaling_of(self, answer: str) -> PlattScaling:
        """Return the scaling of an answer and of the other candidates, whose order it keeps."""
        return self.scalings.get(answer_type(answer), PlattScaling())

    @classmethod
    def fit(cls, answers: Sequence[str], confidences: Sequence[float], right: Sequence[float]) -> Self:
        """Fit the scaling of each type of answer that occurs."""
        by_type: dict[AnswerType, list[tuple[float, float]]] = {}
        for answer, *example in zip(answers, confidences, right, strict=True):
            by_type.setdefault(answer_type(answer), []).append((example[0], example[1]))
        return cls({name: PlattScaling.fit(*zip(*some, strict=True)) for name, some in by_type.items()})

    @classmethod
    def read(cls, folder: str | Path) -> Self | None:
        """Read the calibration in the folder of a model; None if there is none."""
        file = Path(folder) / CALIBRATION_FILE
        if not file.is_file():
            return None
        values = read_json(file)
        stored = values if isinstance(values, dict) else {}
        scalings = {name: scaling for name in get_args(AnswerType) if (scaling := _scaling(stored.get(name)))}
        if not scalings or len(scalings) < len(stored):
            raise ModelError(
                f"{str(file)!r} needs the numbers slope, at least 0, and offset for some of "
                f"{', '.join(get_args(AnswerType))}: delete or fit it again"
            )
        return cls(scalings)

    def write(self, folder: Path) -> Path:
        """Write the calibration into the folder of a model."""
        file = folder / CALIBRATION_FILE
        rows = {name: asdict(scaling) for name, scaling in self.scalings.items()}
        file.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        return file


class CalibratedVQA:
    """A `VisualQA` whose confidences are calibrated. A model without confidences stays without."""

    def __init__(self, vqa: VisualQA, calibration: VQACalibration) -> None:
        self.uncalibrated = vqa
        self._calibration = calibration

    def answer(self, frame: Frame, question: str) -> VQAResult:
        """Answer one question about an RGB image (H, W, 3) uint8."""
        result = self.uncalibrated.answer(frame, question)
        if result.confidence is None:
            return result
        probability = self._calibration.scaling_of(result.answer).probability
        candidates = tuple((text, probability(confidence)) for text, confidence in result.candidates)
        return replace(result, confidence=probability(result.confidence), candidates=candidates)

    def knows(self, text: str) -> bool:
        """Return whether the model knows all words of a text, as far as it can tell."""
        return knows(self.uncalibrated, text)


def _scaling(values: Any) -> PlattScaling | None:
    slope, offset = (values.get(name) if isinstance(values, dict) else None for name in ("slope", "offset"))
    return PlattScaling(slope, offset) if _is_number(slope) and _is_number(offset) and slope >= 0 else None


def _log_odds(confidence: float | np.ndarray) -> np.ndarray:
    clipped = np.clip(confidence, _LEAST, 1 - _LEAST)
    return np.asarray(np.log(clipped / (1 - clipped)))


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
