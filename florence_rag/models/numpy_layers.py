"""The layers of transformers on NumPy, because importing PyTorch takes longer than embedding a query.

Nothing is mapped into memory, because a process that has a file mapped is killed if somebody overwrites it. Layers are
copies of their weights, 350 MB for the image encoder of a ViT-B; of the embeddings of tokens, only the rows that occur
are read, each time again.
"""

import json
import math
import os
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from florence_rag.errors import ModelError

Array = np.ndarray
Layer = tuple[Array, Array]
"""A weight and a bias."""

_TYPES: Mapping[str, type[np.generic]] = MappingProxyType({"F32": np.float32, "F16": np.float16})


class Weights:
    """The weights of the *.safetensors in a folder, by their names.

    Raises:
        OSError, ValueError, KeyError: If a file is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._stored = {name: each for file in sorted(folder.glob("*.safetensors")) for name, each in _tensors(file)}

    def __contains__(self, name: str) -> bool:
        return name in self._stored

    def rows(self, name: str) -> "Rows":
        """Return a matrix whose rows are read on use; a missing one, and one of a type such as bf16, is a KeyError."""
        return Rows(self._stored[name])

    def tensor(self, name: str) -> Array:
        """Return a weight as float32; a missing one, and one of a type such as bf16, is a KeyError."""
        stored = self._stored[name]
        content = np.fromfile(stored.file, stored.dtype, math.prod(stored.shape), offset=stored.start)
        return content.reshape(stored.shape).astype(np.float32, copy=False)

    def layer(self, name: str) -> Layer:
        """Return the weight and the bias of a layer; a missing bias is zero."""
        bias = f"{name}.bias"
        return self.tensor(f"{name}.weight"), self.tensor(bias) if bias in self else np.zeros(1, np.float32)


@dataclass(frozen=True, slots=True)
class _Stored:
    """Where a weight begins in its file, in bytes, and its form."""

    file: Path
    start: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


class Rows:
    """The rows of a matrix (N, C) in a file. Threads may share them."""

    def __init__(self, stored: _Stored) -> None:
        self._stored = stored
        self._file = stored.file.open("rb", buffering=0)
        weakref.finalize(self, self._file.close)

    def __getitem__(self, places: Sequence[int]) -> Array:
        """Read rows as (L, C) float32.

        Raises:
            IndexError: If there is no such row.
            ModelError: If the file has become shorter.
        """
        stored, (count, columns) = self._stored, self._stored.shape
        size = columns * stored.dtype.itemsize
        starts = range(stored.start, stored.start + count * size, size)
        content = b"".join(os.pread(self._file.fileno(), size, starts[place]) for place in places)
        if len(content) != len(places) * size:
            raise ModelError(f"the file {str(stored.file)!r} has changed since the model was opened; open it again")
        return np.frombuffer(content, stored.dtype).reshape(-1, columns).astype(np.float32, copy=False)


def _tensors(file: Path) -> Iterator[tuple[str, _Stored]]:
    with file.open("rb") as stream:
        start = 8 + int.from_bytes(stream.read(8), "little")
        size = os.fstat(stream.fileno()).st_size
        if start > size:
            raise ValueError(f"the header of {file.name} ends after the file")
        header = json.loads(stream.read(start - 8))
    header.pop("__metadata__", None)
    for name, entry in header.items():
        if dtype := _TYPES.get(entry["dtype"]):
            first, last = entry["data_offsets"]
            stored = _Stored(file, start + first, np.dtype(dtype), tuple(entry["shape"]))
            if start + last > size or last - first != math.prod(stored.shape) * stored.dtype.itemsize:
                raise ValueError(f"the weight {name!r:.200} of {file.name} is not whole")
            yield name, stored


def _sigmoid(x: Array) -> Array:
    return 0.5 + 0.5 * np.tanh(0.5 * x)


def _gelu(x: Array) -> Array:
    """GELU by the error function (Abramowitz and Stegun, formula 7.1.26, whose error is at most 1.5e-7)."""
    z = np.abs(x) * 0.5**0.5
    t = 1 / (1 + 0.3275911 * z)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return 0.5 * x * (1 + np.sign(x) * (1 - series * np.exp(-z * z)))


def _tanh_gelu(x: Array) -> Array:
    return 0.5 * x * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x * x * x)))


ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = MappingProxyType(
    {
        "quick_gelu": lambda x: x * _sigmoid(1.702 * x),
        "gelu": _gelu,
        "gelu_pytorch_tanh": _tanh_gelu,
        "gelu_new": _tanh_gelu,
    }
)


def linear(x: Array, layer: Layer) -> Array:
    """(..., C_in) -> (..., C_out)."""
    weight, bias = layer
    return x @ weight.T + bias


def convolve(x: Array, layer: Layer, stride: int, padding: int = 0) -> Array:
    """(H, W, C_in), a square kernel, zeros around the image -> (H', W', C_out)."""
    weight, bias = layer
    padded = np.pad(x, ((padding, padding), (padding, padding), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], axis=(0, 1))[::stride, ::stride]
    return linear(windows.reshape(*windows.shape[:2], -1), (weight.reshape(len(weight), -1), bias))


def normalize(x: Array, layer: Layer, eps: float) -> Array:
    """Normalize over the last axis (LayerNorm)."""
    weight, bias = layer
    centered = x - x.mean(axis=-1, keepdims=True)
    deviation = np.sqrt((centered * centered).mean(axis=-1, keepdims=True) + np.float32(eps))
    return centered / deviation * weight + bias


def attend(query: Array, key: Array, value: Array, heads: int, mask: Array | None = None) -> Array:
    """Mix values (..., L_k, C) by attention: queries (..., L_q, C), mask added to the logits (..., heads, L_q, L_k)."""
    query, key, value = (x.reshape(*x.shape[:-1], heads, -1).swapaxes(-3, -2) for x in (query, key, value))
    logits = query @ key.swapaxes(-2, -1) / np.float32(query.shape[-1] ** 0.5)
    if mask is not None:
        logits = logits + mask
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    mixed: Array = (weights / weights.sum(axis=-1, keepdims=True)) @ value
    mixed = mixed.swapaxes(-3, -2)
    return mixed.reshape(*mixed.shape[:-2], -1)


@dataclass(frozen=True, slots=True)
class BlockNames:
    """The names of the layers in a block. `qkv` are one layer, or three."""

    norm1: str
    qkv: tuple[str, ...]
    out: str
    norm2: str
    fc1: str
    fc2: str


TRANSFORMERS_BLOCK = BlockNames(
    "layer_norm1",
    ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attn.out_proj",
    "layer_norm2",
    *("mlp.fc1", "mlp.fc2"),
)
"""The names in CLIP and SigLIP of transformers."""


class FeedForward:
    """A layer norm and an MLP of two layers, given by their names, with the residual."""

    def __init__(self, weights: Weights, norm: str, fc1: str, fc2: str, *, eps: float, activation: str) -> None:
        self._norm, self._fc1, self._fc2 = map(weights.layer, (norm, fc1, fc2))
        self._eps = eps
        self._activate = ACTIVATIONS[activation]

    def __call__(self, x: Array) -> Array:
        """(..., C) -> (..., C)."""
        hidden = self._activate(linear(normalize(x, self._norm, self._eps), self._fc1))
        return x + linear(hidden, self._fc2)


class Block:
    """A pre-norm transformer block.

    Args:
        weights: The weights of the whole model.
        prefix: What the names of its own weights begin with.
        names: The names of its layers.
        heads: The number of attention heads.
        eps: What the layer norms add to the variance.
        activation: The name of the activation, one of ACTIVATIONS.
    """

    def __init__(
        self, weights: Weights, prefix: str, names: BlockNames, *, heads: int, eps: float, activation: str
    ) -> None:
        self._norm1, self._out = weights.layer(prefix + names.norm1), weights.layer(prefix + names.out)
        mlp = (prefix + name for name in (names.norm2, names.fc1, names.fc2))
        self.feed_forward = FeedForward(weights, *mlp, eps=eps, activation=activation)
        self._qkv = [weights.layer(prefix + name) for name in names.qkv]
        self._heads = heads
        self._eps = eps

    def __call__(self, x: Array, mask: Array | None = None) -> Array:
        """(..., L, C), mask added to the logits (..., heads, L, L) -> (..., L, C)."""
        return self.feed_forward(x + self.attend(self.normalize(x), mask))

    def normalize(self, x: Array) -> Array:
        """(..., C) -> (..., C), the input of `attend`."""
        return normalize(x, self._norm1, self._eps)

    def attend(self, x: Array, mask: Array | None = None) -> Array:
        """(..., L, C) -> (..., L, C), without the residual."""
        parts = [part for layer in self._qkv for part in np.split(linear(x, layer), 3 // len(self._qkv), axis=-1)]
        query, key, value = parts
        return linear(attend(query, key, value, self._heads, mask), self._out)


def read_blocks(
    weights: Weights, prefix: str, count: int, names: BlockNames, *, heads: int, eps: float, activation: str
) -> list[Block]:
    """Return blocks of equal form; `{}` in the prefix is the number of a block."""
    prefixes = [prefix.format(number) for number in range(count)]
    return [Block(weights, each, names, heads=heads, eps=eps, activation=activation) for each in prefixes]
