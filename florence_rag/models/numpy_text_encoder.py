"""The text encoders of dual encoders on NumPy, because importing PyTorch takes longer than embedding a query.

The networks are those of Florence and UniCL (models/text_encoder.py), CLIP (arXiv 2103.00020) and SigLIP (arXiv
2303.15343), with the names of weights that transformers gives them: pre-norm transformers, pooled at one token.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from safetensors import safe_open

Network = Literal["florence", "clip", "siglip"]
Array = np.ndarray


@dataclass(frozen=True, slots=True)
class WeightNames:
    """The names of the weights: of the network, and within a block. `{}` is the number of the block."""

    tokens: str
    positions: str
    block: str
    norm: str
    head: str
    norm1: str
    qkv: tuple[str, ...]
    out: str
    norm2: str


_FLORENCE = WeightNames(
    "text_encoder.token_embedding.weight",
    "text_encoder.position_embedding",
    "text_encoder.blocks.{}.",
    "text_encoder.norm",
    "text_projection",
    *("norm1", ("qkv",), "proj", "norm2"),
)
_CLIP, _SIGLIP = (
    WeightNames(
        "text_model.embeddings.token_embedding.weight",
        "text_model.embeddings.position_embedding.weight",
        "text_model.encoder.layers.{}.",
        "text_model.final_layer_norm",
        head,
        "layer_norm1",
        ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        "self_attn.out_proj",
        "layer_norm2",
    )
    for head in ("text_projection", "text_model.head")
)
_NAMES: Mapping[Network, WeightNames] = MappingProxyType({"florence": _FLORENCE, "clip": _CLIP, "siglip": _SIGLIP})


def _sigmoid(x: Array) -> Array:
    return 0.5 + 0.5 * np.tanh(0.5 * x)


def _gelu(x: Array) -> Array:
    """GELU by the error function (Abramowitz and Stegun, formula 7.1.26, whose error is at most 1.5e-7)."""
    z = np.abs(x) * 0.5**0.5
    t = 1 / (1 + 0.3275911 * z)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return 0.5 * x * (1 + np.sign(x) * (1 - series * np.exp(-z * z)))


def _tanh_gelu(x: Array) -> Array:
    return 0.5 * x * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3)))


ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = MappingProxyType(
    {
        "quick_gelu": lambda x: x * _sigmoid(1.702 * x),
        "gelu": _gelu,
        "gelu_pytorch_tanh": _tanh_gelu,
        "gelu_new": _tanh_gelu,
    }
)


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """What a text encoder needs in addition to its weights.

    Attributes:
        network: The kind of network.
        layers: The number of blocks.
        heads: The number of attention heads.
        eps: What the layer norms add to the variance.
        activation: The name of the activation, one of ACTIVATIONS.
        end_token: The token whose first place is pooled; None for the last place.
        is_causal: Whether a token attends to itself and earlier ones alone.
    """

    network: Network
    layers: int
    heads: int
    eps: float
    activation: str
    end_token: int | None
    is_causal: bool


class NumpyTextEncoder:
    """Token ids to the vector of a text. Threads may share it.

    Args:
        folder: A folder with the *.safetensors of the whole model. The embeddings of tokens are read when they occur.
        settings: What the network is.

    Raises:
        KeyError: If a weight is missing.
        SafetensorError: If a file is damaged, or holds a type that NumPy lacks, such as bf16.
    """

    def __init__(self, folder: Path, settings: NetworkSettings) -> None:
        self._settings = settings
        self._names = _NAMES[settings.network]
        files: list[Any] = [safe_open(str(file), framework="numpy") for file in sorted(folder.glob("*.safetensors"))]
        self._files = {name: file for file in files for name in file.keys()}  # noqa: SIM118  # not a mapping
        self._tokens = self._files[self._names.tokens].get_slice(self._names.tokens)
        self._positions = self._read(self._names.positions)
        self._blocks = [self._block(self._names.block.format(number)) for number in range(settings.layers)]
        self._norm, self._head = self._layer(self._names.norm), self._layer(self._names.head)

    def __call__(self, ids: Sequence[int], attended: int | None = None) -> Array:
        """Embed the token ids of one text as (D,) float32; only the first `attended` ones are attended to."""
        x = np.concatenate([self._tokens[each : each + 1] for each in ids]).astype(np.float32)
        x = x + self._positions[: len(ids)]
        for norm1, qkv, out, norm2, fc1, fc2 in self._blocks:
            x = x + _linear(self._attend(_linear(self._normalize(x, norm1), qkv), attended), out)
            hidden = ACTIVATIONS[self._settings.activation](_linear(self._normalize(x, norm2), fc1))
            x = x + _linear(hidden, fc2)
        end = -1 if self._settings.end_token is None else list(ids).index(self._settings.end_token)
        return _linear(self._normalize(x[end], self._norm), self._head)

    def _attend(self, qkv: Array, attended: int | None) -> Array:
        """(L, 3 C) -> (L, C)."""
        length, heads = len(qkv), self._settings.heads
        query, key, value = qkv.reshape(length, 3, heads, -1).transpose(1, 2, 0, 3)
        logits = query @ key.transpose(0, 2, 1) / np.float32(query.shape[-1] ** 0.5)
        if self._settings.is_causal:
            logits = np.where(np.tri(length, dtype=bool), logits, -np.inf)
        logits[..., attended if attended is not None else length :] = -np.inf
        weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
        mixed: Array = (weights / weights.sum(axis=-1, keepdims=True)) @ value
        return mixed.transpose(1, 0, 2).reshape(length, -1)

    def _normalize(self, x: Array, layer: tuple[Array, Array]) -> Array:
        weight, bias = layer
        centered = x - x.mean(axis=-1, keepdims=True)
        deviation = np.sqrt((centered**2).mean(axis=-1, keepdims=True) + np.float32(self._settings.eps))
        return centered / deviation * weight + bias

    def _block(self, prefix: str) -> tuple[tuple[Array, Array], ...]:
        names = self._names
        parts = [self._layer(prefix + name) for name in names.qkv]
        weight, bias = (np.concatenate(each) for each in zip(*parts, strict=True))
        mlp = "" if names is _FLORENCE else "mlp."
        norm1, out, norm2, fc1, fc2 = (
            self._layer(prefix + name) for name in (names.norm1, names.out, names.norm2, f"{mlp}fc1", f"{mlp}fc2")
        )
        return norm1, (weight, bias), out, norm2, fc1, fc2

    def _layer(self, name: str) -> tuple[Array, Array]:
        """Return the weight and the bias of a layer; some have no bias."""
        bias = f"{name}.bias"
        return self._read(f"{name}.weight"), self._read(bias) if bias in self._files else np.zeros(1, np.float32)

    def _read(self, name: str) -> Array:
        weights: Array = self._files[name].get_tensor(name).astype(np.float32, copy=False)
        return weights


def _linear(x: Array, layer: tuple[Array, Array]) -> Array:
    weight, bias = layer
    return x @ weight.T + bias
