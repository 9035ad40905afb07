"""Classes from their names alone: which of some labels, set in many sentences, does a picture agree with most?

CLIP (arXiv 2103.00020, section 3.1.4), which UniCL and Florence follow: the vector of a label is the mean of the unit
vectors of its sentences, scaled to length one; confidences are a softmax over the cosines times the model's scale.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from florence_rag.embedding.base import Embedder, TextEmbedder, unit_rows
from florence_rag.models.prompt_templates import UNICL_PROMPTS, check_prompts, sentences_for
from florence_rag.tasks.classifier import check_labels

_LABELS_AT_A_TIME = 64


class ZeroShotClassifier:
    """A Classifier for any labels, with any embedder of pictures and texts.

    prompts: sentences with {} in place of the label, by default UniCL's. scale: of the cosines before the softmax, by
    default what the embedder was trained with.
    """

    def __init__(
        self,
        embedder: Embedder,
        labels: Sequence[str],
        *,
        prompts: Sequence[str] | None = None,
        scale: float | None = None,
    ) -> None:
        self.labels = check_labels(labels)
        self.vectors = label_vectors(embedder, self.labels, prompts)
        self._scale = embedder.capabilities.logit_scale if scale is None else scale

    def probabilities(self, vectors: np.ndarray) -> np.ndarray:
        """(N, D) unit vectors of pictures -> (N, labels) float32, rows sum to one."""
        return softmax(self._scale * (vectors @ self.vectors.T))


def label_vectors(embedder: TextEmbedder, labels: Sequence[str], prompts: Sequence[str] | None = None) -> np.ndarray:
    """(labels, D) float32, unit length: of each label the direction of its sentences together."""
    sentences = check_prompts(UNICL_PROMPTS if prompts is None else prompts)
    parts = [labels[start : start + _LABELS_AT_A_TIME] for start in range(0, len(labels), _LABELS_AT_A_TIME)]
    return np.concatenate([_vectors(embedder, part, sentences) for part in parts])


def _vectors(embedder: TextEmbedder, labels: Sequence[str], prompts: tuple[str, ...]) -> np.ndarray:
    rows = embedder.embed_texts([sentence for label in labels for sentence in sentences_for(label, prompts)])
    return unit_rows(rows.reshape(len(labels), len(prompts), -1).mean(axis=1))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Rows that sum to one, as float32."""
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True), dtype=np.float32)
