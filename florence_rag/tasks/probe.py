"""Linear probes: classifiers that are trained on a few examples per class, by logistic regression on frozen features.

They follow CLIP (arXiv 2103.00020, section 3.2): L-BFGS, with the regularization chosen by cross-validation. Features
are scaled to unit variance, which makes L-BFGS converge about ten times faster. A probe is stored as safetensors with a
JSON header, so loading one runs no code.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

import msgspec
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from florence_rag.errors import InputError, MissingExtraError, ModelError
from florence_rag.json_values import parse_json
from florence_rag.tasks.classifier import check_labels, softmax
from florence_rag.types import EmbedderInfo

STRENGTHS = tuple(10.0**power for power in range(-3, 4))
"""The inverse regularization strengths to choose from."""
FOLDS = 5
SUFFIX = ".safetensors"
_FORMAT = "florence_rag linear probe 1"
_ITERATIONS = 2000
_MIN_DEVIATION = 1e-3  # keeps features that hardly vary from dominating


class _Header(TypedDict):
    labels: tuple[str, ...]
    embedder: EmbedderInfo
    examples: dict[str, int]
    strength: float
    accuracy: float | None


@dataclass(frozen=True, slots=True, eq=False)
class LinearProbe:
    """A trained Classifier: float32 weights (labels, D) and bias (labels,) for the features of one embedder.

    `examples` counts the examples of each label, `strength` is the inverse regularization strength, and `accuracy` is
    the cross-validated accuracy in [0, 1], None if a label has only one example.
    """

    labels: tuple[str, ...]
    weights: np.ndarray
    bias: np.ndarray
    embedder: EmbedderInfo
    examples: Mapping[str, int]
    strength: float
    accuracy: float | None

    def probabilities(self, vectors: np.ndarray) -> np.ndarray:
        """Return (N, labels) float32 whose rows sum to one, for the unit vectors (N, D) of images."""
        return softmax(vectors @ self.weights.T + self.bias)

    def save(self, path: Path) -> None:
        """Write the probe to one file, completely or not at all."""
        fields = {name: getattr(self, name) for name in ("labels", "examples", "strength", "accuracy")}
        header = {"format": _FORMAT, "probe": json.dumps({**fields, "embedder": asdict(self.embedder)})}
        path.parent.mkdir(parents=True, exist_ok=True)
        written = path.with_name(f"{path.name}.part")
        save_file({"weights": self.weights, "bias": self.bias}, written, header)
        written.replace(path)

    @classmethod
    def load(cls, path: Path, embedder: EmbedderInfo) -> LinearProbe:
        """Read a file that `save` wrote; raise ModelError for any other, or for features of another embedder."""
        try:
            with safe_open(path, "np") as file:
                header = file.metadata() or {}
                _check_format(header.get("format", ""), path)
                fields = msgspec.convert(parse_json(header["probe"]), _Header)
                weights, bias = file.get_tensor("weights"), file.get_tensor("bias")
        except (OSError, SafetensorError, ValueError, KeyError, msgspec.MsgspecError) as error:
            raise ModelError(f"the classifier {str(path)!r} cannot be read: {error}") from error
        probe = cls(weights=weights, bias=bias, **fields)
        if weights.shape != (len(probe.labels), probe.embedder.dimension) or bias.shape != weights.shape[:1]:
            raise ModelError(f"{str(path)!r} is damaged: its weights do not fit its labels; train it again")
        if probe.embedder != embedder:
            raise ModelError(
                f"{str(path)!r} was trained on features of {probe.embedder.name} ({probe.embedder.fingerprint[:12]}), "
                f"not of {embedder.name} ({embedder.fingerprint[:12]}); open that model, or train it again"
            )
        return probe


def _check_format(found: str, path: Path) -> None:
    if found == _FORMAT:
        return
    if found.startswith(_FORMAT.rstrip("1")):
        raise ModelError(f"{str(path)!r} was written by a newer florence-rag; install that, or train it again")
    raise ModelError(f"{str(path)!r} is not a classifier that `florence-rag classify train` wrote")


def train_probe(vectors: np.ndarray, labels: Sequence[str], embedder: EmbedderInfo) -> LinearProbe:
    """Train a probe on the unit vectors (N, D) of images, with the regularization that is best over five folds."""
    new_model = partial(logistic_regression(), max_iter=_ITERATIONS)
    names = check_labels(sorted(set(labels)))
    numbers = np.array([names.index(label) for label in labels])
    mean, deviation = vectors.mean(axis=0), vectors.std(axis=0) + _MIN_DEVIATION
    scaled = (vectors - mean) / deviation
    strength, accuracy = _cross_validate(new_model, scaled, numbers)
    model = new_model(C=strength).fit(scaled, numbers)
    weights = np.asarray(model.coef_ / deviation, np.float32)
    bias = np.asarray(model.intercept_ - weights @ mean, np.float32)
    if len(names) == 2:  # scikit-learn has one row for two classes, that of the second
        weights, bias = (np.concatenate([np.zeros_like(part), part]) for part in (weights, bias))
    examples = dict(sorted(Counter(labels).items()))
    return LinearProbe(names, weights, bias, embedder, examples, strength, accuracy)


def _cross_validate(
    new_model: Callable[..., Any], vectors: np.ndarray, numbers: np.ndarray
) -> tuple[float, float | None]:
    """Return the best inverse strength and its accuracy; 1 and None if a label has only one example."""
    folds = min(FOLDS, int(np.bincount(numbers).min()))
    if folds < 2:
        return 1.0, None
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    parts = StratifiedKFold(folds, shuffle=True, random_state=0)
    means = [float(cross_val_score(new_model(C=each), vectors, numbers, cv=parts).mean()) for each in STRENGTHS]
    best = int(np.argmax(means))
    return STRENGTHS[best], round(means[best], 4)


def logistic_regression() -> Any:
    """Return scikit-learn's LogisticRegression; raise MissingExtraError if it is not installed."""
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise MissingExtraError("scikit-learn", "adapters") from error
    return LogisticRegression


def check_name(name: str) -> str:
    """Return the name of a classifier; raise InputError if it cannot be the name of a file."""
    if not name or len(name) > 100 or name.startswith(".") or not all(c.isalnum() or c in "-_. " for c in name):
        raise InputError(f"the name {name!r:.80} is not allowed; use up to 100 letters, digits, - and _")
    return name
