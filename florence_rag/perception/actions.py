"""Finds actions in videos with Video CoSwin."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
import torch

from florence_rag.batching import batched
from florence_rag.errors import InputError
from florence_rag.models.processing import FlorenceImageProcessor
from florence_rag.models.strict_loading import open_with_processor
from florence_rag.models.video_coswin import VideoCoSwinForVideoClassification
from florence_rag.perception.base import Action
from florence_rag.types import Frame

WINDOW_STRIDE = 2
"""The number of frames between the starts of two windows."""
SWITCH_PENALTY = 2.0
"""The gain in log-likelihood that a change to another action needs."""
MIN_ATTRIBUTE_CONFIDENCE = 0.5
"""The lowest confidence at which an attribute is reported."""


class VideoCoSwinRecognizer:
    """An `ActionRecognizer` of the actions in `labels`. Threads may share it.

    A window as long as the clips of the training slides over a video; a label that holds for more than half of a window
    is an action. Actions below the confidence `threshold`, in [0, 1], are dropped; `batch` is the number of windows per
    forward pass.
    """

    def __init__(
        self,
        model: VideoCoSwinForVideoClassification,
        processor: FlorenceImageProcessor,
        *,
        threshold: float = 0.3,
        batch: int = 8,
    ) -> None:
        if not 0 <= threshold <= 1:
            raise InputError(f"threshold is {threshold!r}; give a confidence from 0 to 1")
        self._model = model.eval()  # type: ignore[no-untyped-call]
        self._processor = processor
        self._threshold = threshold
        self._batch = batch
        self._frames: int = model.config.num_frames
        self._attributes: dict[str, list[str]] = model.config.attributes or {}
        self.labels: tuple[str, ...] = tuple((model.config.id2label or {}).values())
        self.fps: float = self._frames / model.config.window_s

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, *, name: str, device: str | None = None, threshold: float = 0.3
    ) -> VideoCoSwinRecognizer:
        """Load a folder that `save_pretrained` wrote, by default onto a GPU if there is one."""
        model, processor = open_with_processor(
            VideoCoSwinForVideoClassification,
            FlorenceImageProcessor,
            folder,
            name=name,
            what="an action model",
            device=device,
        )
        return cls(model, processor, threshold=threshold)

    def classify(self, frames: Sequence[Frame]) -> list[tuple[str, float]]:
        """Rank all labels for one clip by their confidence.

        The frames, at least one, are in order of time. The network reads evenly spaced ones of a longer clip, and
        repeats those of a shorter one.
        """
        if not len(frames):
            raise InputError("the clip has no frames: give at least one")
        window = np.stack([self._processor.resize(frames[i]) for i in _spread(len(frames), self._frames)])
        probabilities = self.probabilities([window])["label"][0]
        return [(self.labels[i], float(probabilities[i])) for i in np.argsort(-probabilities)]

    def recognize(self, frames: Iterable[tuple[float, Frame]], end_s: float | None = None) -> list[Action]:
        """Find the actions in one shot, in order of time, holding only a few windows in memory.

        A shot that is shorter than a window is read as one window.
        """
        times_s: list[float] = []
        parts = [self.probabilities(windows) for windows in batched(self._windows(frames, times_s), self._batch)]
        if not parts:
            return []
        probabilities = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        middles_of_windows = np.arange(len(probabilities["label"])) * WINDOW_STRIDE + self._frames / 2
        middles = np.arange(len(times_s)) + 0.5
        seen = {
            name: np.stack([np.interp(middles, middles_of_windows, column) for column in each.T], axis=1)
            for name, each in probabilities.items()
        }
        half_s = 0.5 / self.fps
        between = [(one + other) / 2 for one, other in pairwise(times_s)]
        edges = [max(0.0, times_s[0] - half_s), *between, times_s[-1] + half_s if end_s is None else end_s]
        return [action for action in self._actions(seen, edges) if action.confidence >= self._threshold]

    def _windows(self, frames: Iterable[tuple[float, Frame]], times_s: list[float]) -> Iterator[np.ndarray]:
        """Yield every window as (T, side, side, 3) uint8, and append the times of all frames."""
        recent: deque[np.ndarray] = deque(maxlen=self._frames)
        for time_s, frame in frames:
            times_s.append(time_s)
            recent.append(self._processor.resize(frame))
            if len(times_s) >= self._frames and (len(times_s) - self._frames) % WINDOW_STRIDE == 0:
                yield np.stack(recent)
        if 0 < len(times_s) < self._frames:
            yield np.stack([recent[i] for i in _spread(len(recent), self._frames)])

    @torch.inference_mode()
    def probabilities(self, windows: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Return the probabilities (W, values) of the labels, as "label", and of each attribute."""
        pixels = torch.from_numpy(np.stack(windows))
        values = self._processor.normalize_pixels(pixels.flatten(0, 1))
        values = values.reshape(*pixels.shape[:2], *values.shape[1:])
        found = self._model(values.to(self._model.device))
        logits = {"label": found.logits, **(found.attribute_logits or {})}
        return {name: part.float().softmax(dim=-1).cpu().numpy() for name, part in logits.items()}

    def _actions(self, seen: Mapping[str, np.ndarray], edges: Sequence[float]) -> Iterator[Action]:
        path = likeliest_path(seen["label"], least=self._frames // 2 + 1)
        for label, run in groupby(range(len(path)), key=path.__getitem__):
            frames = list(run)
            if self.labels[label] != self._model.config.idle:
                confidence = float(seen["label"][frames, label].mean())
                probabilities = {name: seen[name][frames].mean(axis=0) for name in self._attributes}
                attributes = {
                    name: self._attributes[name][int(values.argmax())]
                    for name, values in probabilities.items()
                    if values.max() >= MIN_ATTRIBUTE_CONFIDENCE
                }
                span = round(edges[frames[0]], 3), round(edges[frames[-1] + 1], 3)
                yield Action(self.labels[label], *span, round(confidence, 4), attributes)

    def sentence(self, action: Action) -> str:
        """Return a phrase such as "a purple bus leaves to the right", or the label if the network has no wording."""
        if not self._model.config.wording:
            return action.label
        wording = self._model.config.wording.get(action.attributes.get("object", ""))
        if wording is None:
            return f"something {action.label}"
        colored, plain, verb = wording
        color = action.attributes.get("color")
        return f"{colored.format(color=color) if color else plain} {action.label.replace('drives', verb)}"


def likeliest_path(probabilities: np.ndarray, change: float = SWITCH_PENALTY, least: int = 1) -> list[int]:
    """Return the most likely sequence of classes (Viterbi) for probabilities (N, classes).

    Every change to another class costs `change` in log-likelihood; a class lasts at least `least` rows.
    """
    count, classes = probabilities.shape
    so_far = np.concatenate([np.zeros((1, classes)), np.log(np.maximum(probabilities, 1e-6)).cumsum(axis=0)])
    least = min(least, count)
    before = np.full(count + 1, -np.inf)  # the score of the best path that ends here, minus the cost of a change
    before[0] = 0.0
    run, begin = np.full(classes, -np.inf), np.zeros(classes, dtype=int)
    last: dict[int, tuple[int, int]] = {}
    for end in range(least, count + 1):
        begun = before[end - least] - so_far[end - least]
        run, begin = np.maximum(run, begun), np.where(begun > run, end - least, begin)
        scores = run + so_far[end]
        label = int(scores.argmax())
        before[end] = scores[label] - change
        last[end] = label, int(begin[label])
    path: list[int] = []
    end = count
    while end:
        label, start = last[end]
        path, end = [label] * (end - start) + path, start
    return path


def _spread(count: int, wanted: int) -> list[int]:
    """Return evenly spaced indices of frames, some of them several times if there are too few."""
    return [(2 * i + 1) * count // (2 * wanted) for i in range(wanted)]
