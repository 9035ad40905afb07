"""Says what happens in a video, and when, with Video CoSwin."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice, pairwise
from pathlib import Path

import numpy as np
import torch

from florence_rag.errors import InputError
from florence_rag.models.processing import FlorenceImageProcessor
from florence_rag.models.strict_loading import open_with_processor
from florence_rag.models.video_coswin import VideoCoSwinForVideoClassification
from florence_rag.perception.base import Action
from florence_rag.types import Frame

STEP = 2
"""Frames from one window to the next."""
CHANGE = 2.0
"""How much likelier, as a logarithm, another action must make what is seen before it is believed to have begun."""
NAMED = 0.5
"""The least confidence of an attribute to be spoken of."""


class VideoCoSwinRecognizer:
    """An ActionRecognizer of a fixed list of actions, its `labels`. Safe to call from several threads.

    A window as long as the clips of its training slides over a video; what most windows agree on for more than half of
    their length is an action. threshold: the least confidence of one, in [0, 1]. batch: windows in one pass.
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
        self.rate_hz: float = self._frames / model.config.window_s

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, *, name: str, device: str | None = None, threshold: float = 0.3
    ) -> VideoCoSwinRecognizer:
        """Load the folder that save_pretrained wrote; ModelError where there is none.

        device: a torch device; a GPU is used where there is one.
        """
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
        """All labels for one clip, taken as a whole, with their confidence, the likeliest first.

        frames: in order of time, of any number from 1; of more than the network takes, evenly spread ones are looked
        at, and fewer are shown for longer.
        """
        if not len(frames):
            raise InputError("a clip without frames: give at least one")
        chosen = [frames[i] for i in _spread(len(frames), self._frames)]
        shares = self._seen([np.stack([self._processor.resize(frame) for frame in chosen])])["label"][0]
        return [(self.labels[i], float(shares[i])) for i in np.argsort(-shares)]

    def recognize(self, frames: Iterable[tuple[float, Frame]], end_s: float | None = None) -> list[Action]:
        """What happens when, in order of time; nothing where nothing does.

        frames: (seconds, picture), rate_hz of them in a second; never more than a few windows are held. end_s: where
        the last frame ends. A clip that is shorter than a window is looked at as one.
        """
        times_s: list[float] = []
        parts = [self._seen(windows) for windows in _batches(self._windows(frames, times_s), self._batch)]
        if not parts:
            return []
        seen = {
            name: self._of_frames(np.concatenate([part[name] for part in parts]), len(times_s)) for name in parts[0]
        }
        edges = _edges(times_s, 1 / self.rate_hz, end_s)
        return [action for action in self._actions(seen, edges) if action.confidence >= self._threshold]

    def _windows(self, frames: Iterable[tuple[float, Frame]], times_s: list[float]) -> Iterator[np.ndarray]:
        """(T, side, side, 3) uint8 of every window; notes the times of all frames."""
        recent: deque[np.ndarray] = deque(maxlen=self._frames)
        for time_s, frame in frames:
            times_s.append(time_s)
            recent.append(self._processor.resize(frame))
            if len(times_s) >= self._frames and (len(times_s) - self._frames) % STEP == 0:
                yield np.stack(recent)
        if 0 < len(times_s) < self._frames:
            yield np.stack([recent[i] for i in _spread(len(recent), self._frames)])

    def _of_frames(self, shares: np.ndarray, count: int) -> np.ndarray:
        """(W, values) of windows -> (count, values) of frames: what a window tells is about its middle."""
        middles = np.arange(len(shares)) * STEP + self._frames / 2
        return np.stack([np.interp(np.arange(count) + 0.5, middles, column) for column in shares.T], axis=1)

    @torch.inference_mode()
    def _seen(self, windows: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Probabilities (W, values) of the labels, as "label", and of each attribute."""
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
                attributes = self._named({name: seen[name][frames].mean(axis=0) for name in self._attributes})
                span = round(edges[frames[0]], 3), round(edges[frames[-1] + 1], 3)
                yield Action(self.labels[label], *span, round(confidence, 4), attributes)

    def _named(self, shares: Mapping[str, np.ndarray]) -> dict[str, str]:
        """The attributes that are sure enough."""
        return {
            name: self._attributes[name][int(values.argmax())]
            for name, values in shares.items()
            if values.max() >= NAMED
        }

    def sentence(self, action: Action) -> str:
        """The action in words, as far as it is known who acts: "a purple bus leaves to the right".

        A network that was taught no words says its label.
        """
        if not self._model.config.wording:
            return action.label
        wording = self._model.config.wording.get(action.attributes.get("object", ""))
        if wording is None:
            return f"something {action.label}"
        colored, plain, verb = wording
        color = action.attributes.get("color")
        return f"{colored.format(color=color) if color else plain} {action.label.replace('drives', verb)}"


def likeliest_path(shares: np.ndarray, change: float = CHANGE, least: int = 1) -> list[int]:
    """The likeliest sequence of classes (Viterbi): a change to another costs so much of the logarithm.

    shares: (N, classes), probabilities of each frame or window. least: of how many a class lasts at least.
    """
    count, classes = shares.shape
    so_far = np.concatenate([np.zeros((1, classes)), np.log(np.maximum(shares, 1e-6)).cumsum(axis=0)])
    least = min(least, count)
    before = np.full(count + 1, -np.inf)  # of the best path that ends there, less the change
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


def _edges(times_s: Sequence[float], part_s: float, end_s: float | None) -> list[float]:
    """Where each frame begins, half-way from the one before, and where the last one ends."""
    halves = [(one + other) / 2 for one, other in pairwise(times_s)]
    return [max(0.0, times_s[0] - part_s / 2), *halves, times_s[-1] + part_s / 2 if end_s is None else end_s]


def _spread(count: int, wanted: int) -> list[int]:
    """The indices of so many of count frames, evenly, some of them several times where there are too few."""
    return [(2 * i + 1) * count // (2 * wanted) for i in range(wanted)]


def _batches(windows: Iterator[np.ndarray], size: int) -> Iterator[list[np.ndarray]]:
    while batch := list(islice(windows, size)):
        yield batch
