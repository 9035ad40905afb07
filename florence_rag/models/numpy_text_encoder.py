"""The text encoders of dual encoders on NumPy.

The networks are those of Florence and UniCL (models/text_encoder.py), CLIP (arXiv 2103.00020) and SigLIP (arXiv
2303.15343), with the names of weights that transformers gives them: pre-norm transformers, pooled at one token.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np

from florence_rag.models.numpy_layers import (
    TRANSFORMERS_BLOCK,
    Array,
    BlockNames,
    Weights,
    linear,
    normalize,
    read_blocks,
)

TextNetwork = Literal["florence", "clip", "siglip"]


@dataclass(frozen=True, slots=True)
class _Names:
    """The names of the weights. `{}` is the number of the block."""

    tokens: str
    positions: str
    block: str
    norm: str
    head: str
    in_block: BlockNames = TRANSFORMERS_BLOCK


_FLORENCE = _Names(
    "text_encoder.token_embedding.weight",
    "text_encoder.position_embedding",
    "text_encoder.blocks.{}.",
    "text_encoder.norm",
    "text_projection",
    BlockNames("norm1", ("qkv",), "proj", "norm2", "fc1", "fc2"),
)
_CLIP, _SIGLIP = (
    _Names(
        "text_model.embeddings.token_embedding.weight",
        "text_model.embeddings.position_embedding.weight",
        "text_model.encoder.layers.{}.",
        "text_model.final_layer_norm",
        head,
    )
    for head in ("text_projection", "text_model.head")
)
_NAMES: Mapping[TextNetwork, _Names] = MappingProxyType({"florence": _FLORENCE, "clip": _CLIP, "siglip": _SIGLIP})


@dataclass(frozen=True, slots=True)
class TextNetworkSettings:
    """What a text encoder needs in addition to its weights.

    Attributes:
        network: The kind of network.
        layers: The number of blocks.
        heads: The number of attention heads.
        eps: What the layer norms add to the variance.
        activation: The name of the activation, one of numpy_layers.ACTIVATIONS.
        end_token: The token whose first place is pooled; None for the last place.
        is_causal: Whether a token attends to itself and earlier ones alone.
    """

    network: TextNetwork
    layers: int
    heads: int
    eps: float
    activation: str
    end_token: int | None
    is_causal: bool


class NumpyTextEncoder:
    """Token ids to the vector of a text. Threads may share it.

    Args:
        weights: The weights of the whole model. The embeddings of tokens are read when they occur.
        settings: What the network is.

    Raises:
        KeyError: If a weight is missing.
    """

    def __init__(self, weights: Weights, settings: TextNetworkSettings) -> None:
        self._settings = settings
        names = _NAMES[settings.network]
        self._tokens, self._positions = weights.rows(names.tokens), weights.tensor(names.positions)
        self._blocks = read_blocks(
            weights,
            names.block,
            settings.layers,
            names.in_block,
            heads=settings.heads,
            eps=settings.eps,
            activation=settings.activation,
        )
        self._norm, self._head = weights.layer(names.norm), weights.layer(names.head)

    def __call__(self, ids: Sequence[int], attended: int | None = None) -> Array:
        """Embed the token ids of one text as (D,) float32; only the first `attended` ones are attended to."""
        x = self._tokens[ids] + self._positions[: len(ids)]
        mask = self._mask(len(ids), attended)
        for block in self._blocks:
            x = block(x, mask)
        end = -1 if self._settings.end_token is None else list(ids).index(self._settings.end_token)
        return linear(normalize(x[end], self._norm, self._settings.eps), self._head)

    def _mask(self, length: int, attended: int | None) -> Array:
        """Return what is added to the logits of each pair of tokens, 0 or -inf: (L, L)."""
        visible = np.tri(length, dtype=bool) if self._settings.is_causal else np.ones((length, length), dtype=bool)
        visible[:, attended if attended is not None else length :] = False
        return np.where(visible, np.float32(0), np.float32(-np.inf))
