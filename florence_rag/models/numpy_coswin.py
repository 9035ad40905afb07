"""CoSwin, and Swin, on NumPy: the network of models/coswin.py, which names the papers, for one image."""

import math
from itertools import product

import numpy as np

from florence_rag.models.numpy_layers import Array, Block, BlockNames, Weights, convolve, linear, normalize

_IN_BLOCK = BlockNames("norm1", ("attn.qkv",), "attn.proj", "norm2", "mlp.0", "mlp.2")


class NumpyCoSwin:
    """Normalized pixels (H, W, 3) to the vector (D,) of an image. Threads may share it.

    Args:
        weights: The weights of the whole model.
        layers: The number of blocks of each stage.
        heads: The number of attention heads of each stage.
        eps: What the layer norms add to the variance.

    Raises:
        KeyError: If a weight is missing.
    """

    def __init__(self, weights: Weights, layers: tuple[int, ...], heads: tuple[int, ...], eps: float) -> None:
        prefixes = [f"image_encoder.stages.{number}." for number in range(len(layers))]
        self._embeddings = [_Embedding(weights, f"{prefix}embed.", eps) for prefix in prefixes]
        self._blocks = [
            [_SwinBlock(weights, f"{prefix}blocks.{i}.", count, eps, shifted=i % 2 == 1) for i in range(depth)]
            for prefix, depth, count in zip(prefixes, layers, heads, strict=True)
        ]
        self._norm = weights.layer("image_encoder.norm")
        self._head = weights.layer("image_projection")
        self._eps = eps

    def __call__(self, pixels: Array) -> Array:
        """Embed one image."""
        x = pixels
        for embed, blocks in zip(self._embeddings, self._blocks, strict=True):
            x = embed(x)
            for block in blocks:
                x = block(x)
        return linear(normalize(x, self._norm, self._eps).mean(axis=(0, 1)), self._head)


class _Embedding:
    """The embedding of a stage: CvT's convolution, or Swin's patches and merging."""

    def __init__(self, weights: Weights, prefix: str, eps: float) -> None:
        self._merges = f"{prefix}reduction.weight" in weights
        self._proj = weights.layer(prefix + ("reduction" if self._merges else "proj"))
        self._norm = weights.layer(f"{prefix}norm")
        self._eps = eps

    def __call__(self, x: Array) -> Array:
        """(H_in, W_in, C_in) -> (H, W, C)."""
        if self._merges:
            x = _padded(x, 2)
            neighbors = [x[row::2, column::2] for column, row in product((0, 1), (0, 1))]
            return linear(normalize(np.concatenate(neighbors, axis=-1), self._norm, self._eps), self._proj)
        kernel = self._proj[0].shape[-1]
        if kernel == 4:
            return normalize(convolve(_padded(x, 4), self._proj, stride=4), self._norm, self._eps)
        stride, padding = (4, 2) if kernel == 7 else (2, 1)
        return normalize(convolve(x, self._proj, stride, padding), self._norm, self._eps)


class _SwinBlock:
    """Attention in (shifted) windows, then an MLP. The side of the windows follows from the table of biases."""

    def __init__(self, weights: Weights, prefix: str, heads: int, eps: float, *, shifted: bool) -> None:
        self._block = Block(weights, prefix, _IN_BLOCK, heads=heads, eps=eps, activation="gelu")
        table = weights.tensor(f"{prefix}attn.relative_position_bias_table")
        self._side = (math.isqrt(len(table)) + 1) // 2
        self._bias = table[_relative_positions(self._side)].transpose(2, 0, 1)
        self._shifted = shifted

    def __call__(self, x: Array) -> Array:
        """(H, W, C) -> (H, W, C)."""
        return self._block.feed_forward(x + self._attend(self._block.normalize(x)))

    def _attend(self, x: Array) -> Array:
        height, width, side = *x.shape[:2], self._side
        shift = side // 2 if self._shifted and min(height, width) > side else 0
        rolled = np.roll(_padded(x, side), (-shift, -shift), axis=(0, 1))
        rows, columns = rolled.shape[:2]
        mask = self._bias + _shift_mask(rows, columns, side, shift)[:, None] if shift else self._bias
        attended = _from_windows(self._block.attend(_to_windows(rolled, side), mask), rows, columns)
        return np.roll(attended, (shift, shift), axis=(0, 1))[:height, :width]


def _padded(x: Array, multiple: int) -> Array:
    """Pad below and on the right with zeros to multiples of some tokens."""
    return np.pad(x, ((0, -x.shape[0] % multiple), (0, -x.shape[1] % multiple), (0, 0)))


def _relative_positions(side: int) -> Array:
    """Return the row in the table of biases for each pair of positions in a window: (N, N)."""
    rows, columns = (axis.ravel() for axis in np.indices((side, side)))
    down, across = (axis[:, None] - axis[None] + side - 1 for axis in (rows, columns))
    return np.asarray(down * (2 * side - 1) + across)


def _shift_mask(height: int, width: int, side: int, shift: int) -> Array:
    """Return what is added to the logits after a cyclic shift: (windows, N, N), -100 between parts that are apart."""
    down, across = (
        (np.arange(size) >= size - side).astype(int) + (np.arange(size) >= size - shift) for size in (height, width)
    )
    regions = _to_windows((3 * down[:, None] + across)[..., None], side)[..., 0]
    return np.where(regions[:, :, None] != regions[:, None], np.float32(-100), np.float32(0))


def _to_windows(x: Array, side: int) -> Array:
    """(H, W, C) -> (windows, N, C)."""
    height, width, channels = x.shape
    grid = x.reshape(height // side, side, width // side, side, channels).swapaxes(1, 2)
    return grid.reshape(-1, side * side, channels)


def _from_windows(windows: Array, height: int, width: int) -> Array:
    """(windows, N, C) -> (H, W, C)."""
    side = math.isqrt(windows.shape[1])
    grid = windows.reshape(height // side, width // side, side, side, -1).swapaxes(1, 2)
    return grid.reshape(height, width, -1)
