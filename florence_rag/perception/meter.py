"""Visual question answering and image-text matching with METER."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from florence_rag.errors import InputError, ModelError
from florence_rag.models.meter_heads import MeterForMultipleTasks
from florence_rag.models.processing import FlorenceProcessor
from florence_rag.perception.base import VQAResult
from florence_rag.types import Frame


class MeterVQA:
    """A METER model in evaluation mode with its processor. Safe to call from several threads.

    candidates: how many answers a result lists. batch: pictures in one forward pass of match.
    """

    def __init__(
        self, model: MeterForMultipleTasks, processor: FlorenceProcessor, *, candidates: int = 5, batch: int = 32
    ) -> None:
        if missing := {"vqa", "itm"} - set(model.config.heads):
            raise ModelError(f"this METER model has no head {sorted(missing)!r}; it has {model.config.heads!r}")
        if model.config.answers is None:
            raise ModelError("this METER model does not carry its answer vocabulary: set config.answers")
        self._model = model.eval()
        self._processor = processor
        self._answers: list[str] = list(model.config.answers)
        self._candidates = min(candidates, len(self._answers))
        self._batch = batch

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, device: str | None = None) -> MeterVQA:
        """Load the folder that save_pretrained wrote. device: a torch device; a GPU is used where there is one."""
        target = device or ("cuda" if torch.cuda.is_available() else "cpu")
        model = MeterForMultipleTasks.from_pretrained(folder, dtype=torch.float32).to(target)  # type: ignore[arg-type]
        return cls(model, FlorenceProcessor.from_pretrained(folder))

    @torch.inference_mode()
    def answer(self, frame: Frame, question: str) -> VQAResult:
        """Answer one question about one picture, (H, W, 3) uint8 RGB.

        confidence: METER judges each answer for itself (a sigmoid), so candidates need not sum to one.
        """
        if not question.strip():
            raise InputError("the question is empty; ask something about the picture")
        scores = self._logits("vqa", [frame], [question])[0].sigmoid()
        best = scores.topk(self._candidates)
        ranked = [(self._answers[i], round(p, 4)) for p, i in zip(*map(torch.Tensor.tolist, best), strict=True)]
        return VQAResult(ranked[0][0], ranked[0][1], tuple(ranked))

    @torch.inference_mode()
    def match(self, frames: Sequence[Frame], texts: Sequence[str]) -> np.ndarray:
        """The probability that text i fits frame i: (N,) float32."""
        if len(frames) != len(texts):
            raise InputError(f"{len(frames)} pictures but {len(texts)} texts; give one text for each picture")
        batches = [slice(start, start + self._batch) for start in range(0, len(texts), self._batch)]
        fits = [self._logits("itm", frames[part], texts[part]).softmax(-1)[:, 1] for part in batches]
        return torch.cat(fits).numpy() if fits else np.zeros(0, dtype=np.float32)

    def _logits(self, head: str, frames: Sequence[Frame], texts: Sequence[str]) -> torch.Tensor:
        inputs = self._processor(images=list(frames), text=list(texts)).to(self._model.device)
        fusion = self._model.meter(**inputs)
        return self._model.logits_of(head, fusion).float().cpu()
