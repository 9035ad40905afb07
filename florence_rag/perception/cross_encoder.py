"""Reranks with a CrossEncoder of sentence-transformers: of text pairs, or of texts with images."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sentence_transformers import CrossEncoder

from florence_rag.errors import InputError, ModelError, first_line
from florence_rag.models.sentence_transformers import (
    has_language_head,
    is_cross_encoder,
    is_vision_language_model,
    model_folder,
    open_model,
)
from florence_rag.perception.base import Candidate
from florence_rag.text_arguments import check_query_text
from florence_rag.types import Frame
from florence_rag.untrusted_text import neutralize


class CrossEncoderReranker:
    """A `Reranker`. Threads may share it, and take turns. `batch` is the number of pairs per forward pass.

    Scores pass through a sigmoid, for every model. For a model with a language head, which answers "yes" or "no", that
    is the probability of "yes".
    """

    def __init__(self, model: CrossEncoder, *, name: str, batch: int = 16) -> None:
        if model.num_labels != 1:
            raise ModelError(f"the model {name!r} gives {model.num_labels} scores to a pair; a reranker gives one")
        self._model = model
        self._name = name
        self._batch = batch
        self._lock = threading.Lock()  # two threads cannot use the tokenizer at the same time
        self.reads: frozenset[Candidate] = frozenset({"text", "image"} if model.supports("image") else {"text"})
        example: list[Frame | str] = ["a"]
        if "image" in self.reads:
            example.append(np.zeros((32, 32, 3), dtype=np.uint8))
        try:  # now rather than in the first search: some models cannot pair a query with an image
            self.score("a", example)
        except Exception as error:  # the library and the model's own template raise errors of many kinds
            raise ModelError(f"the model {name!r} cannot score pairs: {first_line(error)}") from error

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, name: str, device: str | None = None) -> CrossEncoderReranker:
        """Open a folder in fp32, by default on a GPU if there is one."""
        folder = model_folder(folder)
        if is_vision_language_model(folder):
            raise ModelError(
                f"the model {name!r} writes about images, and has no config_sentence_transformers.json that says how "
                "it scores a pair: take a repository that has one, or write it with CrossEncoder.save_pretrained"
            )
        if not (is_cross_encoder(folder) or has_language_head(folder)):
            raise ModelError(f"the model {name!r} was not trained to score pairs; it can serve as an embedder")
        return cls(open_model(CrossEncoder, folder, device=device, precision=None), name=name)

    def score(self, query: str, candidates: Sequence[Frame | str]) -> np.ndarray:
        """Score how well each candidate, an RGB image (H, W, 3) uint8 or a text, fits the query: (N,) in [0, 1]."""
        query = check_query_text(query)
        scores = np.zeros(len(candidates), dtype=np.float32)
        images = [i for i, candidate in enumerate(candidates) if not isinstance(candidate, str)]
        if images and "image" not in self.reads:
            raise InputError(f"the reranker {self._name!r} reads texts only; give it the caption of an image")
        passages = [i for i, candidate in enumerate(candidates) if isinstance(candidate, str)]
        for rows in (images, passages):  # separately, because a model without a chat template cannot mix them
            if rows:
                pairs = [self._pair(query, candidates[i]) for i in rows]
                with self._lock:
                    scores[rows] = self._model.predict(
                        pairs, batch_size=self._batch, show_progress_bar=False, activation_fn=torch.nn.Sigmoid()
                    )
        return scores

    def _pair(self, query: str, candidate: Frame | str) -> tuple[Any, Any]:
        query = neutralize(query)
        candidate = neutralize(candidate) if isinstance(candidate, str) else candidate
        if "image" not in self.reads:
            return query, candidate
        # As a plain str, a passage that is the URL or the path of an image would be opened as that image.
        other = {"text": candidate} if isinstance(candidate, str) else {"image": Image.fromarray(candidate)}
        return {"text": query}, other
