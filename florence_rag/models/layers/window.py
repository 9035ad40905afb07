"""Shifted-window self-attention, Swin (arXiv 2103.14030, section 3.2, equation 4)."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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
def relative_position_index(window: int) -> Tensor:
    """Row of the bias table for each pair of positions in a window: (window^2, window^2) int64."""
    axis = torch.arange(window)
    rows, columns = (grid.flatten() for grid in torch.meshgrid(axis, axis, indexing="ij"))
    down = rows[:, None] - rows[None] + window - 1
    right = columns[:, None] - columns[None] + window - 1
    return down * (2 * window - 1) + right


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def shift_mask(height: int, width: int, window: int, shift: int) -> Tensor:
    """What may see what after a cyclic shift: (number of windows, window^2, window^2) float32, 0 or -100."""

    def bands(size: int) -> Tensor:
        position = torch.arange(size)
        return (position >= size - window).long() + (position >= size - shift).long()

    regions = bands(height)[:, None] * 3 + bands(width)[None]
    regions = to_windows(regions[None, :, :, None], window).squeeze(-1)
    return (regions[:, :, None] != regions[:, None, :]).float() * -100.0


def to_windows(x: Tensor, window: int) -> Tensor:
    """(B, H, W, C) -> (B * H / window * W / window, window^2, C); H and W are multiples of window."""
    batch, height, width, channels = x.shape
    x = x.view(batch, height // window, window, width // window, window, channels)
    return x.transpose(2, 3).reshape(-1, window * window, channels)


def from_windows(windows: Tensor, window: int, height: int, width: int) -> Tensor:
    """The inverse of to_windows: -> (B, H, W, C)."""
    channels = windows.shape[-1]
    x = windows.view(-1, height // window, width // window, window, window, channels)
    return x.transpose(2, 3).reshape(-1, height, width, channels)


class WindowAttention(nn.Module):
    """Multi-head self-attention inside windows with a learned relative position bias."""

    def __init__(self, channels: int, num_heads: int, window: int, *, qkv_bias: bool = True) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.window = window
        self.qkv = nn.Linear(channels, 3 * channels, bias=qkv_bias)
        self.proj = nn.Linear(channels, channels)
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, num_heads))

    def forward(self, windows: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B * n, window^2, C), mask (n, window^2, window^2) added to the logits or None -> (B * n, window^2, C)."""
        return self.attended(windows, self._masked(self._bias(), mask, windows.shape[0]))

    def attended(self, windows: Tensor, bias: Tensor) -> Tensor:
        """(B * n, N, C), bias (1 or B * n, heads, N, N) added to the logits -> (B * n, N, C)."""
        count, tokens, channels = windows.shape
        qkv = self.qkv(windows).view(count, tokens, 3, self.num_heads, channels // self.num_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias.to(query.dtype))
        return self.proj(attended.transpose(1, 2).reshape(count, tokens, channels))

    def _bias(self) -> Tensor:
        """(1, heads, N, N)."""
        table = self.relative_position_bias_table
        return table[relative_position_index(self.window).to(table.device)].permute(2, 0, 1)[None]

    @staticmethod
    def _masked(bias: Tensor, mask: Tensor | None, count: int) -> Tensor:
        """With what may not be seen of each window."""
        return bias if mask is None else (bias + mask[:, None]).repeat(count // mask.shape[0], 1, 1, 1)


class SwinBlock(nn.Module):
    """LayerNorm, (shifted) window attention, LayerNorm, MLP, both with residuals."""

    def __init__(
        self,
        channels: int,
        num_heads: int,
        *,
        window: int,
        shift: int,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path: float = 0.0,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1 = nn.LayerNorm(channels, eps=eps)
        self.attn = WindowAttention(channels, num_heads, window, qkv_bias=qkv_bias)
        self.norm2 = nn.LayerNorm(channels, eps=eps)
        hidden = int(channels * mlp_ratio)
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.GELU(), nn.Linear(hidden, channels))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        x = x + self.drop_path(self._attend(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def _attend(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        x = F.pad(x, (0, 0, 0, -width % self.window, 0, -height % self.window))
        padded_height, padded_width = x.shape[1:3]
        # A map that is one window has nothing to exchange with a neighbor.
        shift = self.shift if min(padded_height, padded_width) > self.window else 0
        mask = None
        if shift:
            x = x.roll((-shift, -shift), dims=(1, 2))
            mask = shift_mask(padded_height, padded_width, self.window, shift).to(x)
        x = from_windows(self.attn(to_windows(x, self.window), mask), self.window, padded_height, padded_width)
        if shift:
            x = x.roll((shift, shift), dims=(1, 2))
        return x[:, :height, :width]
