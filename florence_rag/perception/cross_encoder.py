"""Reranks with any CrossEncoder of sentence-transformers: of text pairs, or of texts with pictures."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from florence_rag.errors import InputError, MissingExtraError, ModelError
from florence_rag.models.sentence_transformers import (
    first_line,
    has_language_head,
    is_cross_encoder,
    model_folder,
    open_model,
    talks_of_pictures,
)
from florence_rag.perception.base import Candidate
from florence_rag.types import Frame

try:
    from sentence_transformers import CrossEncoder
except ImportError as error:
    raise MissingExtraError("sentence-transformers", "sentence-transformers") from error


class CrossEncoderReranker:
    """A Reranker. Safe to call from several threads, which wait for each other. batch: pairs in a forward pass.

    Scores go through a sigmoid, whatever the model was published with: of an answer of "yes" or "no", which models
    with a language head give, that is the probability of "yes".
    """

    def __init__(self, model: CrossEncoder, *, name: str, batch: int = 16) -> None:
        if model.num_labels != 1:
            raise ModelError(f"the model {name!r} gives {model.num_labels} scores to a pair; a reranker gives one")
        self._model = model
        self._name = name
        self._batch = batch
        self._lock = threading.Lock()  # a tokenizer cannot be used by two threads
        self.reads: frozenset[Candidate] = frozenset({"text", "image"} if model.supports("image") else {"text"})
        self._check_pairs()

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        name: str,
        device: str | None = None,
        offline: bool = False,
        precision: str | None = None,
    ) -> CrossEncoderReranker:
        """Open a folder or a repository of the hub.

        device: a torch device; a GPU is used where there is one. offline: download nothing. precision: fp32 or bf16.
        Raises ModelError.
        """
        folder = model_folder(source, offline=offline)
        if talks_of_pictures(folder):
            raise ModelError(
                f"the model {name!r} writes about pictures, and has no config_sentence_transformers.json that says how "
                "it scores a pair: take a repository that has one, or write it with CrossEncoder.save_pretrained"
            )
        if not (is_cross_encoder(folder) or has_language_head(folder)):
            raise ModelError(f"the model {name!r} was not trained to score pairs; it can serve as an embedder")
        return cls(open_model(CrossEncoder, folder, device=device, precision=precision), name=name)

    def score(self, query: str, candidates: Sequence[Frame | str]) -> np.ndarray:
        """How well each candidate, (H, W, 3) uint8 RGB or a text, fits the query: (N,) float32 in [0, 1]."""
        if not query.strip():
            raise InputError("the query is empty; say what the candidates should fit")
        scores = np.zeros(len(candidates), dtype=np.float32)
        pictures = [i for i, candidate in enumerate(candidates) if not isinstance(candidate, str)]
        if pictures and "image" not in self.reads:
            raise InputError(f"the reranker {self._name!r} reads texts only; give it the words of a picture")
        passages = [i for i, candidate in enumerate(candidates) if isinstance(candidate, str)]
        for some in (pictures, passages):  # apart, because a model without a chat template cannot mix them
            if some:
                scores[some] = self._scored([self._pair(query, candidates[i]) for i in some])
        return scores

    def _pair(self, query: str, candidate: Frame | str) -> tuple[Any, Any]:
        if "image" not in self.reads:
            return query, candidate
        # Given as a plain str, what looks like a URL or a file of a picture would be fetched and looked at.
        other = {"text": candidate} if isinstance(candidate, str) else {"image": Image.fromarray(candidate)}
        return {"text": query}, other

    def _scored(self, pairs: list[tuple[Any, Any]]) -> np.ndarray:
        with self._lock:
            scores = self._model.predict(
                pairs, batch_size=self._batch, show_progress_bar=False, activation_fn=torch.nn.Sigmoid()
            )
        return np.asarray(scores, dtype=np.float32)

    def _check_pairs(self) -> None:
        """Now rather than in the first search: some models have no words for a pair of a query and a picture."""
        picture = np.zeros((32, 32, 3), dtype=np.uint8)
        try:
            self.score("a", [picture, "a"] if "image" in self.reads else ["a"])
        except Exception as error:  # of the library, of the model's own template
            raise ModelError(f"the model {self._name!r} cannot score pairs: {first_line(error)}") from error
