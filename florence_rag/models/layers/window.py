"""Shifted-window self-attention over images and clips.

Papers: Swin (arXiv 2103.14030, section 3.2, equation 4) for rows and columns, Video Swin (arXiv 2106.13230, section
3.2) for frames, rows and columns. Reference code: microsoft/UniCL and Video Swin's.
"""

import math
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Sizes = tuple[int, ...]
"""Tokens along each axis: rows and columns, or frames, rows and columns."""

ClampedBias = Literal["exact", "released"]
"""The biases of a window that is clamped to a smaller map: see WindowAttention."""


class DropPath(nn.Module):
    """Stochastic depth (arXiv 1603.09382): drops the residual branch of a sample with probability rate in training."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> (B, ...)."""
        if not self.training or self.rate == 0.0:
            return x
        keep = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(1 - self.rate)
        return x * keep / (1 - self.rate)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # the cached tensors must also serve a later training
def relative_position_index(window: Sizes, full: Sizes, clamped: ClampedBias = "exact") -> Tensor:
    """Return the row in the bias table of a full window for each pair of the N positions in a window, (N, N) int64."""
    axes = torch.meshgrid(*map(torch.arange, full if clamped == "released" else window), indexing="ij")
    index = torch.zeros(axes[0].numel(), axes[0].numel(), dtype=torch.long)
    for axis, size in zip(axes, full, strict=True):
        distance = axis.flatten()[:, None] - axis.flatten()[None]
        index = index * (2 * size - 1) + distance + size - 1
    tokens = math.prod(window)
    return index[:tokens, :tokens]


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def shift_mask(sizes: Sizes, window: Sizes, shift: Sizes) -> Tensor:
    """Return the attention mask after a cyclic shift: (number of windows, N, N) float32, 0 or -100."""
    regions = torch.zeros((), dtype=torch.long)
    for size, side, step in zip(sizes, window, shift, strict=True):
        position = torch.arange(size)
        bands = (position >= size - side).long() + (position >= size - step).long()
        regions = regions[..., None] * 3 + bands * (step > 0)
    regions = to_windows(regions[None, ..., None], window).squeeze(-1)
    return (regions[:, :, None] != regions[:, None, :]).float() * -100.0


def to_windows(x: Tensor, window: Sizes) -> Tensor:
    """(B, *sizes, C), sizes that are multiples of the window's -> (B * number of windows, N, C)."""
    for axis, side in enumerate(window):
        x = x.unflatten(2 * axis + 1, (-1, side))
    last = 2 * len(window) + 1
    return x.permute(0, *range(1, last, 2), *range(2, last, 2), last).reshape(-1, math.prod(window), x.shape[-1])


def from_windows(windows: Tensor, window: Sizes, sizes: Sizes) -> Tensor:
    """The inverse of to_windows: (B * number of windows, N, C) -> (B, *sizes, C)."""
    axes = len(window)
    counts = [size // side for size, side in zip(sizes, window, strict=True)]
    x = windows.view(-1, *counts, *window, windows.shape[-1])
    order = [axis for pair in zip(range(1, axes + 1), range(axes + 1, 2 * axes + 1), strict=True) for axis in pair]
    return x.permute(0, *order, 2 * axes + 1).reshape(-1, *sizes, windows.shape[-1])


class WindowAttention(nn.Module):
    """Multi-head self-attention inside windows with a learned relative position bias (Swin, equation 4).

    In a window that is smaller than the full one, `clamped` chooses the biases: "exact" those of the same distances,
    "released" those of the first tokens of the full window, as Video Swin's code and weights do.
    """

    def __init__(
        self, channels: int, num_heads: int, window: Sizes, *, qkv_bias: bool = True, clamped: ClampedBias = "exact"
    ) -> None:
        super().__init__()
        self.num_heads, self.window, self.clamped = num_heads, window, clamped
        self.qkv = nn.Linear(channels, 3 * channels, bias=qkv_bias)
        self.proj = nn.Linear(channels, channels)
        rows = math.prod(2 * side - 1 for side in window)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(rows, num_heads))

    def forward(self, windows: Tensor, window: Sizes, mask: Tensor | None = None) -> Tensor:
        """Tokens (B * n, N, C) of n windows of a size, mask (n, N, N) added to the logits -> (B * n, N, C)."""
        count, tokens, channels = windows.shape
        table = self.relative_position_bias_table
        index = relative_position_index(window, self.window, self.clamped)
        bias = table[index.to(table.device)].permute(2, 0, 1)[None]
        if mask is not None:
            bias = (bias + mask[:, None]).repeat(count // mask.shape[0], 1, 1, 1)
        qkv = self.qkv(windows).view(count, tokens, 3, self.num_heads, channels // self.num_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias.to(query.dtype))
        return self.proj(attended.transpose(1, 2).reshape(count, tokens, channels))


class SwinBlock(nn.Module):
    """LayerNorm, (shifted) window attention, LayerNorm, MLP, both with residuals (Swin, equation 3).

    A map that is no larger than the window is padded to the window and not shifted, as in Swin. With `clamped`, each
    such axis of the window becomes as small as the map and is not shifted, as in Video Swin.
    """

    def __init__(
        self,
        channels: int,
        num_heads: int,
        *,
        window: Sizes,
        shifted: bool,
        clamped: ClampedBias | None = None,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path: float = 0.0,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.window, self.shifted, self.clamped = window, shifted, clamped
        self.norm1 = nn.LayerNorm(channels, eps=eps)
        self.attn = WindowAttention(channels, num_heads, window, qkv_bias=qkv_bias, clamped=clamped or "exact")
        self.norm2 = nn.LayerNorm(channels, eps=eps)
        hidden = int(channels * mlp_ratio)
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.GELU(), nn.Linear(hidden, channels))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) or (B, T, H, W, C) -> the same shape."""
        x = x + self.drop_path(self._attend(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def _attend(self, x: Tensor) -> Tensor:
        sizes = tuple(map(int, x.shape[1:-1]))
        axes = tuple(range(1, x.ndim - 1))
        window, shift = self._window_and_shift(sizes)
        padding = [-size % side for size, side in zip(sizes, window, strict=True)]
        x = F.pad(x, (0, 0, *(pad for missing in reversed(padding) for pad in (0, missing))))
        padded = tuple(size + missing for size, missing in zip(sizes, padding, strict=True))
        mask = None
        if any(shift):
            x = x.roll([-step for step in shift], axes)
            mask = shift_mask(padded, window, shift).to(x)
        x = from_windows(self.attn(to_windows(x, window), window, mask), window, padded)
        if any(shift):
            x = x.roll(shift, axes)
        for axis, size in zip(axes, sizes, strict=True):
            x = x.narrow(axis, 0, size)
        return x

    def _window_and_shift(self, sizes: Sizes) -> tuple[Sizes, Sizes]:
        """Return the window and the shift for a map of these sizes."""
        exceeds = [size > side for size, side in zip(sizes, self.window, strict=True)]
        if self.clamped is None:
            # A map that is one window has nothing to exchange with a neighbor.
            exceeds = [all(exceeds)] * len(sizes)
        shift = tuple(side // 2 * (self.shifted and more) for side, more in zip(self.window, exceeds, strict=True))
        return (self.window if self.clamped is None else tuple(map(min, sizes, self.window))), shift
