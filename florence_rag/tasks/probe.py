"""Classes from examples: logistic regression over frozen features, a linear probe, also for a few examples of each.

As CLIP does it (arXiv 2103.00020, section 3.2): L-BFGS, with the strength of regularisation chosen by cross-validation;
on features scaled to one variance, with which it gets there some ten times sooner.
Kept as safetensors with a JSON header: nothing that is opened can run.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from florence_rag.errors import InputError, MissingExtraError, ModelError
from florence_rag.tasks.classifier import check_labels
from florence_rag.tasks.zero_shot import softmax
from florence_rag.types import EmbedderInfo

STRENGTHS = tuple(10.0**power for power in range(-3, 4))
"""The inverse strengths of regularisation to choose from."""
FOLDS = 5
SUFFIX = ".safetensors"
_FORMAT = "florence_rag linear probe 1"
_ITERATIONS = 2000
_LEAST_SPREAD = 1e-3  # of a feature that hardly varies, which must not become the loudest


@dataclass(frozen=True, slots=True, eq=False)
class LinearProbe:
    """A Classifier that was trained. weights: (labels, D) float32. bias: (labels,) float32.

    examples: how many of each label. strength: the inverse of regularisation. accuracy: on examples that were left
    out in turn, in [0, 1]; None where a label has one example only, so that none could be left out.
    """

    labels: tuple[str, ...]
    weights: np.ndarray
    bias: np.ndarray
    embedder: EmbedderInfo
    examples: Mapping[str, int]
    strength: float
    accuracy: float | None

    def probabilities(self, vectors: np.ndarray) -> np.ndarray:
        """(N, D) unit vectors of pictures -> (N, labels) float32, rows sum to one."""
        return softmax(vectors @ self.weights.T + self.bias)

    def save(self, path: Path) -> None:
        """Write one file, all or nothing."""
        facts = {name: getattr(self, name) for name in ("labels", "examples", "strength", "accuracy")}
        header = {"format": _FORMAT, "probe": json.dumps({**facts, "embedder": asdict(self.embedder)})}
        path.parent.mkdir(parents=True, exist_ok=True)
        written = path.with_name(f"{path.name}.part")
        save_file({"weights": self.weights, "bias": self.bias}, written, header)
        written.replace(path)

    @classmethod
    def load(cls, path: Path, embedder: EmbedderInfo) -> LinearProbe:
        """What `save` wrote; ModelError for any other file, and where another embedder made the features."""
        facts, weights, bias = _read(path)
        probe = cls(
            tuple(facts["labels"]),
            weights,
            bias,
            EmbedderInfo(**facts["embedder"]),
            facts["examples"],
            facts["strength"],
            facts["accuracy"],
        )
        if weights.shape != (len(probe.labels), probe.embedder.dimension) or bias.shape != weights.shape[:1]:
            raise ModelError(f"{str(path)!r} is damaged: its weights do not fit its labels; train it anew")
        if probe.embedder != embedder:
            raise ModelError(
                f"{str(path)!r} was trained on features of {probe.embedder.name} ({probe.embedder.fingerprint[:12]}), "
                f"not of {embedder.name} ({embedder.fingerprint[:12]}); open that model, or train it anew"
            )
        return probe


def _read(path: Path) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    try:
        with safe_open(path, "np") as file:
            header = file.metadata() or {}
            if header.get("format") != _FORMAT:
                raise ModelError(f"{str(path)!r} is no classifier that `florence-rag classify train` wrote")
            return json.loads(header["probe"]), file.get_tensor("weights"), file.get_tensor("bias")
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise ModelError(f"the classifier {str(path)!r} cannot be read: {error}") from error


def train_probe(vectors: np.ndarray, labels: Sequence[str], embedder: EmbedderInfo) -> LinearProbe:
    """A probe of pictures with the unit vectors (N, D) and their labels (N,).

    InputError for one class only. The strength is that of the best accuracy over up to five folds, the weakest of
    equals; a label with one example leaves no choice, and it is 1.
    """
    from_sklearn = logistic_regression()
    names = check_labels(sorted(set(labels)))
    numbers = np.array([names.index(label) for label in labels])
    middle, spread = vectors.mean(axis=0), vectors.std(axis=0) + _LEAST_SPREAD
    scaled = (vectors - middle) / spread
    strength, accuracy = _chosen(from_sklearn, scaled, numbers)
    model = from_sklearn(C=strength, max_iter=_ITERATIONS).fit(scaled, numbers)
    weights = np.asarray(model.coef_ / spread, np.float32)
    bias = np.asarray(model.intercept_ - weights @ middle, np.float32)
    if len(names) == 2:  # scikit-learn has one row for two classes: what speaks for the second
        weights, bias = (np.concatenate([np.zeros_like(part), part]) for part in (weights, bias))
    examples = dict(sorted(Counter(labels).items()))
    return LinearProbe(names, weights, bias, embedder, examples, strength, accuracy)


def _chosen(logistic_regression: Any, vectors: np.ndarray, numbers: np.ndarray) -> tuple[float, float | None]:
    folds = min(FOLDS, int(np.bincount(numbers).min()))
    if folds < 2:
        return 1.0, None
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    parts = StratifiedKFold(folds, shuffle=True, random_state=0)
    models = [logistic_regression(C=strength, max_iter=_ITERATIONS) for strength in STRENGTHS]
    means = [float(cross_val_score(model, vectors, numbers, cv=parts).mean()) for model in models]
    best = int(np.argmax(means))
    return STRENGTHS[best], round(means[best], 4)


def logistic_regression() -> Any:
    """scikit-learn's class; MissingExtraError where that is not installed."""
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise MissingExtraError("scikit-learn", "adapters") from error
    return LogisticRegression


def check_name(name: str) -> str:
    """InputError for what cannot be the name of a file."""
    if not name or len(name) > 100 or name.startswith(".") or not all(c.isalnum() or c in "-_. " for c in name):
        raise InputError(f"the name {name!r:.80} is not allowed; use up to 100 letters, digits, - and _")
    return name
