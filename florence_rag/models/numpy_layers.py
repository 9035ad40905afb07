"""The layers of transformers on NumPy, because importing PyTorch takes longer than embedding a query.

Weights are those of *.safetensors, mapped into memory: a process reads what it uses, and the system may drop it again.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

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
        self._stored = {name: array for file in sorted(folder.glob("*.safetensors")) for name, array in _mapped(file)}

    def __contains__(self, name: str) -> bool:
        return name in self._stored

    def stored(self, name: str) -> Array:
        """Return a weight in the type of the file; a missing one, and one of a type such as bf16, is a KeyError."""
        return self._stored[name]

    def tensor(self, name: str) -> Array:
        """Return a weight as float32."""
        return self._stored[name].astype(np.float32, copy=False)

    def layer(self, name: str) -> Layer:
        """Return the weight and the bias of a layer; a missing bias is zero."""
        bias = f"{name}.bias"
        return self.tensor(f"{name}.weight"), self.tensor(bias) if bias in self else np.zeros(1, np.float32)


def _mapped(file: Path) -> list[tuple[str, Array]]:
    content = np.asarray(np.memmap(file, dtype=np.uint8, mode="r"))
    start = 8 + int.from_bytes(content[:8].tobytes(), "little")
    header = json.loads(content[8:start].tobytes())
    header.pop("__metadata__", None)

    def array(entry: Mapping[str, Any]) -> Array:
        first, last = entry["data_offsets"]
        return content[start + first : start + last].view(_TYPES[entry["dtype"]]).reshape(entry["shape"])

    return [(name, array(entry)) for name, entry in header.items() if entry["dtype"] in _TYPES]


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
        self._norm1, self._out, self._norm2, self._fc1, self._fc2 = (
            weights.layer(prefix + name) for name in (names.norm1, names.out, names.norm2, names.fc1, names.fc2)
        )
        self._qkv = [weights.layer(prefix + name) for name in names.qkv]
        self._heads = heads
        self._eps = eps
        self._activate = ACTIVATIONS[activation]

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

    def feed_forward(self, x: Array) -> Array:
        """(..., C) -> (..., C), with the residual."""
        hidden = self._activate(linear(normalize(x, self._norm2, self._eps), self._fc1))
        return x + linear(hidden, self._fc2)


def read_blocks(
    weights: Weights, prefix: str, count: int, names: BlockNames, *, heads: int, eps: float, activation: str
) -> list[Block]:
    """Return blocks of equal form; `{}` in the prefix is the number of a block."""
    prefixes = [prefix.format(number) for number in range(count)]
    return [Block(weights, each, names, heads=heads, eps=eps, activation=activation) for each in prefixes]
