"""Says what happens in a video, and when, with Video CoSwin."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from pathlib import Path

import numpy as np
import torch

from florence_rag.errors import InputError
from florence_rag.models.processing import FlorenceImageProcessor
from florence_rag.models.strict import open_with_processor
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

    A window as long as the clips of its training slides over a video; what most windows agree on for a while is an
    action. threshold: the least confidence of one, in [0, 1]. batch: windows in one pass.
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
        seen = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        end_s = times_s[-1] + 1 / self.rate_hz if end_s is None else end_s
        edges = self._edges(times_s, len(seen["label"]), end_s)
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

    def _edges(self, times_s: Sequence[float], windows: int, end_s: float) -> list[float]:
        """Where what each window tells begins, which is about its middle, and where that of the last one ends."""
        middle = (self._frames - STEP) // 2
        return [times_s[0], *(times_s[i * STEP + middle] for i in range(1, windows)), end_s]

    @torch.inference_mode()
    def _seen(self, windows: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Probabilities (W, values) of the labels, as "label", and of each attribute."""
        pixels = torch.from_numpy(np.stack(windows))
        values = self._processor.normalise(pixels.flatten(0, 1))
        values = values.reshape(*pixels.shape[:2], *values.shape[1:])
        found = self._model(values.to(self._model.device))
        logits = {"label": found.logits, **(found.attribute_logits or {})}
        return {name: part.float().softmax(dim=-1).cpu().numpy() for name, part in logits.items()}

    def _actions(self, seen: Mapping[str, np.ndarray], edges: Sequence[float]) -> Iterator[Action]:
        path = likeliest_path(seen["label"])
        for label, run in groupby(range(len(path)), key=path.__getitem__):
            windows = list(run)
            if self.labels[label] != self._model.config.idle:
                confidence = float(seen["label"][windows, label].mean())
                attributes = self._named({name: seen[name][windows].mean(axis=0) for name in self._attributes})
                span = round(edges[windows[0]], 3), round(edges[windows[-1] + 1], 3)
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
        wording = self._model.config.wording.get(action.attributes.get("thing", ""))
        if wording is None:
            return f"something {action.label}"
        coloured, plain, verb = wording
        colour = action.attributes.get("colour")
        return f"{coloured.format(colour=colour) if colour else plain} {action.label.replace('drives', verb)}"


def likeliest_path(shares: np.ndarray, change: float = CHANGE) -> list[int]:
    """The likeliest sequence of classes (Viterbi): a change to another costs so much of the logarithm.

    shares: (W, classes), probabilities of each window.
    """
    logs = np.log(np.maximum(shares, 1e-6))
    best, before = logs[0], []
    for row in logs[1:]:
        switched = best.max() - change
        before.append(np.where(best >= switched, np.arange(len(best)), best.argmax()))
        best = np.maximum(best, switched) + row
    path = [int(best.argmax())]
    for origin in reversed(before):
        path.append(int(origin[path[-1]]))
    return path[::-1]


def _spread(count: int, wanted: int) -> list[int]:
    """The indices of so many of count frames, evenly, some of them several times where there are too few."""
    return [(2 * i + 1) * count // (2 * wanted) for i in range(wanted)]


def _batches(windows: Iterator[np.ndarray], size: int) -> Iterator[list[np.ndarray]]:
    while batch := list(islice(windows, size)):
        yield batch
