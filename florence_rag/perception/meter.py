"""Visual question answering and image-text matching with METER."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch

from florence_rag.errors import InputError, ModelError
from florence_rag.models.meter_heads import MeterForMultipleTasks
from florence_rag.models.processing import FlorenceProcessor
from florence_rag.models.strict_loading import open_processor, open_strictly
from florence_rag.perception.base import AttentionMap, VQAResult
from florence_rag.text_arguments import check_question
from florence_rag.tokenize import words
from florence_rag.types import Box, Frame

PEAK_SHARE = 0.25
"""The share of the largest weight that a cell next to the peak of an attention map needs to belong to the region."""
MARGIN = 0.5
"""The margin of that region on each side in cells, since the receptive field of a token is larger than its cell."""


class MeterPerception:
    """A METER model in evaluation mode with its processor. Threads may share it."""

    heads: ClassVar[tuple[str, ...]] = ()
    """The heads of which the model needs one."""

    def __init__(self, model: MeterForMultipleTasks, processor: FlorenceProcessor) -> None:
        if not set(self.heads) & set(model.config.heads):
            raise ModelError(
                f"{type(self).__name__} needs the head {' or '.join(self.heads)}; this METER has {model.config.heads!r}"
            )
        self._model = model.eval()
        self._processor = processor

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, device: str | None = None) -> Self:
        """Load a folder that `save_pretrained` wrote, by default onto a GPU if there is one."""
        return cls(*load_meter(folder, device))

    def knows(self, text: str) -> bool:
        """Return whether each word of a text is one token; the tokenizer splits words that it was not made for."""
        return all(len(self._processor.tokenizer.tokenize(f" {word}")) == 1 for word in words(text))

    def _logits(self, head: str, frames: Sequence[Frame], texts: Sequence[str]) -> torch.Tensor:
        inputs = self._processor(images=list(frames), text=list(texts)).to(self._model.device)
        fusion = self._model.meter(**inputs)
        return self._model.logits_of(head, fusion).float().cpu()


class MeterVQA(MeterPerception):
    """Chooses among the answers of the model's vocabulary. A result lists up to `candidates` of them."""

    heads = ("vqa",)

    def __init__(self, model: MeterForMultipleTasks, processor: FlorenceProcessor, *, candidates: int = 5) -> None:
        super().__init__(model, processor)
        if model.config.answers is None:
            raise ModelError(
                "this METER has no list of answers, which the released files do not contain: write a folder with "
                "`florence-rag convert CHECKPOINT FOLDER --answers VQAv2-ANNOTATIONS` and use that"
            )
        self._answers: list[str] = list(model.config.answers)
        self._candidates = min(candidates, len(self._answers))

    def answer(self, frame: Frame, question: str) -> VQAResult:
        """Answer one question about an RGB image (H, W, 3) uint8.

        METER gives every answer a sigmoid of its own, so that the confidences of candidates need not sum to one.
        """
        (result,) = self.answer_many([frame], [question])
        return result

    @torch.inference_mode()
    def answer_many(self, frames: Sequence[Frame], questions: Sequence[str]) -> list[VQAResult]:
        """Answer question i about image i, all in one forward pass."""
        for question in questions:
            check_question(question)
        if not questions:
            return []
        best = self._logits("vqa", frames, questions).sigmoid().topk(self._candidates)
        rows = (zip(*row, strict=True) for row in zip(best.indices.tolist(), best.values.tolist(), strict=True))
        return [VQAResult.ranked([(self._answers[i], round(p, 4)) for i, p in row]) for row in rows]

    @torch.inference_mode()
    def attention_map(self, frame: Frame, question: str) -> AttentionMap:
        """Return what the first text token reads of the image in the middle fusion layer.

        That token represents the whole question, and the answer is read from its state. In the first layer it attends
        to everything that the question names; in the last one, its attention has no clear peak. Measured on 300
        synthetic scenes with florence-tiny: the box contains the center of the object in question in 96 % of them, and
        covers 11 % of the image on average.
        """
        check_question(question)
        inputs = self._processor(images=[frame], text=[question]).to(self._model.device)
        layers = self._model.meter(**inputs, output_cross_attentions=True).cross_attentions
        weights = to_grid(layers[len(layers) // 2][0, 0].float().cpu().numpy())
        view = self._processor.image_processor.scaling.view(frame.shape[1], frame.shape[0])
        return AttentionMap(weights, region_around_peak(weights, view), view)


class MeterMatcher(MeterPerception):
    """A `Matcher` over the head for image-text matching, or over the ranking head of a model tuned for retrieval.

    `batch` is the number of images per forward pass.
    """

    heads = ("rank", "itm")

    def __init__(self, model: MeterForMultipleTasks, processor: FlorenceProcessor, *, batch: int = 32) -> None:
        super().__init__(model, processor)
        self._batch = batch

    @torch.inference_mode()
    def match(self, frames: Sequence[Frame], texts: Sequence[str]) -> np.ndarray:
        """Return the probability that text i matches image i: (N,) float32 in [0, 1].

        With a ranking head it is the sigmoid of the score, which orders pairs without being a probability.
        """
        if len(frames) != len(texts):
            raise InputError(f"{len(frames)} images but {len(texts)} texts; give one text for each image")
        head = "rank" if "rank" in self._model.config.heads else "itm"
        scores = [torch.zeros(0)]
        for start in range(0, len(texts), self._batch):
            part = slice(start, start + self._batch)
            logits = self._logits(head, frames[part], texts[part])
            scores.append(logits.flatten().sigmoid() if head == "rank" else logits.softmax(-1)[:, 1])
        return torch.cat(scores).numpy()


def load_meter(folder: str | Path, device: str | None = None) -> tuple[MeterForMultipleTasks, FlorenceProcessor]:
    """Load what a MeterVQA and a MeterMatcher can share."""
    return open_strictly(MeterForMultipleTasks, folder, device=device), open_processor(FlorenceProcessor, folder)


def to_grid(weights: np.ndarray) -> np.ndarray:
    """Arrange (N,) weights of image tokens, row by row after an optional class token, as (G, G) with the sum 1."""
    side = math.isqrt(len(weights))
    cells = weights[len(weights) - side * side :]
    return (cells / max(float(cells.sum()), 1e-12)).reshape(side, side).astype(np.float32)


def region_around_peak(grid: np.ndarray, view: Box = (0.0, 0.0, 1.0, 1.0)) -> Box:
    """Return a box in [0, 1] of the image around the connected cells whose weights are close to the largest.

    `view` is the part of the image that the grid (G, G) covers. Cells are connected horizontally and vertically.
    """
    row, column = (int(i) for i in np.unravel_index(grid.argmax(), grid.shape))
    pending, cells = [(row, column)], {(row, column)}
    marked = set(zip(*np.nonzero(grid >= PEAK_SHARE * grid.max()), strict=True))
    while pending:
        row, column = pending.pop()
        neighbors = {(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)}
        fresh = neighbors & marked - cells
        cells |= fresh
        pending += fresh
    corners = np.array(sorted(cells))
    top, left = ((corners.min(axis=0) - MARGIN) / grid.shape).clip(0, 1).tolist()
    bottom, right = ((corners.max(axis=0) + 1 + MARGIN) / grid.shape).clip(0, 1).tolist()
    width, height = view[2] - view[0], view[3] - view[1]
    edges = (view[0] + left * width, view[1] + top * height, view[0] + right * width, view[1] + bottom * height)
    return tuple(round(min(max(edge, 0.0), 1.0), 4) for edge in edges)
