"""The image encoders of dual encoders on NumPy.

The networks are those of Florence and UniCL (numpy_coswin.py), and the vision transformers of CLIP (arXiv 2103.00020)
and SigLIP (arXiv 2303.15343), with the names of weights that transformers gives them.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from florence_rag.models.numpy_coswin import NumpyCoSwin
from florence_rag.models.numpy_layers import (
    TRANSFORMERS_BLOCK,
    Array,
    FeedForward,
    Weights,
    attend,
    convolve,
    linear,
    normalize,
    read_blocks,
)

ImageNetwork = Literal["florence", "clip", "siglip"]


@dataclass(frozen=True, slots=True)
class ImageNetworkSettings:
    """What an image encoder needs in addition to its weights.

    Attributes:
        network: The kind of network.
        layers: The number of blocks of each stage. A vision transformer has one stage.
        heads: The number of attention heads of each stage.
        eps: What the layer norms add to the variance.
        activation: The name of the activation, one of numpy_layers.ACTIVATIONS.
    """

    network: ImageNetwork
    layers: tuple[int, ...]
    heads: tuple[int, ...]
    eps: float
    activation: str


class NumpyImageEncoder(Protocol):
    """Normalized pixels (H, W, 3) float32 of one image to its vector (D,) float32. Threads may share it."""

    def __call__(self, pixels: Array) -> Array:
        """Embed one image."""
        ...


def open_image_encoder(weights: Weights, settings: ImageNetworkSettings) -> NumpyImageEncoder:
    """Return the image encoder of a model; raise KeyError if a weight is missing."""
    if settings.network == "florence":
        return NumpyCoSwin(weights, settings.layers, settings.heads, settings.eps)
    return (_ClipEncoder if settings.network == "clip" else _SiglipEncoder)(weights, settings)


class _VisionTransformer:
    """Patches of an image through pre-norm transformer blocks."""

    def __init__(self, weights: Weights, settings: ImageNetworkSettings) -> None:
        (layers,), (heads,) = settings.layers, settings.heads
        self._eps, self._heads = settings.eps, heads
        self._patches = weights.layer("vision_model.embeddings.patch_embedding")
        self._positions = weights.tensor("vision_model.embeddings.position_embedding.weight")
        self._blocks = read_blocks(
            weights,
            "vision_model.encoder.layers.{}.",
            layers,
            TRANSFORMERS_BLOCK,
            heads=heads,
            eps=settings.eps,
            activation=settings.activation,
        )
        self._norm = weights.layer("vision_model.post_layernorm")

    def _embed_patches(self, pixels: Array) -> Array:
        """(H, W, 3) -> (L, C)."""
        patches = convolve(pixels, self._patches, stride=self._patches[0].shape[-1])
        return patches.reshape(-1, patches.shape[-1])

    def _run_blocks(self, x: Array) -> Array:
        """(L, C) -> (L, C)."""
        for block in self._blocks:
            x = block(x)
        return x


class _ClipEncoder(_VisionTransformer):
    """Pools at the class token."""

    def __init__(self, weights: Weights, settings: ImageNetworkSettings) -> None:
        super().__init__(weights, settings)
        self._class = weights.tensor("vision_model.embeddings.class_embedding")
        self._first_norm = weights.layer("vision_model.pre_layrnorm")
        self._head = weights.layer("visual_projection")

    def __call__(self, pixels: Array) -> Array:
        x = np.concatenate([self._class[None], self._embed_patches(pixels)]) + self._positions
        x = self._run_blocks(normalize(x, self._first_norm, self._eps))
        return linear(normalize(x[0], self._norm, self._eps), self._head)


class _SiglipEncoder(_VisionTransformer):
    """Pools by the attention of one learned query."""

    def __init__(self, weights: Weights, settings: ImageNetworkSettings) -> None:
        super().__init__(weights, settings)
        head = "vision_model.head."
        self._query = weights.tensor(f"{head}probe")[0]
        in_proj = [np.split(weights.tensor(f"{head}attention.in_proj_{part}"), 3) for part in ("weight", "bias")]
        self._qkv = [*zip(*in_proj, strict=True)]
        self._out = weights.layer(f"{head}attention.out_proj")
        mlp = (head + name for name in ("layernorm", "mlp.fc1", "mlp.fc2"))
        self._feed_forward = FeedForward(weights, *mlp, eps=settings.eps, activation=settings.activation)

    def __call__(self, pixels: Array) -> Array:
        x = self._run_blocks(self._embed_patches(pixels) + self._positions)
        return self._pool(normalize(x, self._norm, self._eps))[0]

    def _pool(self, x: Array) -> Array:
        """(L, C) -> (1, C)."""
        query, key, value = (linear(of, layer) for of, layer in zip((self._query, x, x), self._qkv, strict=True))
        return self._feed_forward(linear(attend(query, key, value, self._heads), self._out))
