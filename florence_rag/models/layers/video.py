"""The layers of CoSwin in space and time: embeddings, merging, and shifted windows over (frames, rows, columns).

Papers: Florence (arXiv 2111.11432, section 2.2, video adapter), Video Swin (arXiv 2106.13230, section 3). Reference
code: Video Swin's for patches and windows; that of Florence's 3D convolutions was never published.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from florence_rag.models.layers.embedding import PatchMerging
from florence_rag.models.layers.window import SwinBlock, WindowAttention

Sizes = tuple[int, int, int]
"""Of frames, rows and columns."""

ClampedBias = Literal["exact", "released"]
"""Which biases a window has that had to be made smaller: see VideoWindowAttention."""


class VideoConvEmbedding(nn.Module):
    """CvT's overlapping convolution, three frames deep, then LayerNorm over channels.

    Before its first frame and after its last a clip is taken to stand still: zeros would be a flash.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, first: bool, time_stride: int = 1, eps: float = 1e-5
    ) -> None:
        super().__init__()
        kernel, stride, padding = (7, 4, 2) if first else (3, 2, 1)
        self.proj = nn.Conv3d(
            in_channels, out_channels, (3, kernel, kernel), (time_stride, stride, stride), (0, padding, padding)
        )
        self.norm = nn.LayerNorm(out_channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, T, H, W) -> (B, T / time_stride, H / stride, W / stride, C_out)."""
        x = torch.cat([x[:, :, :1], x, x[:, :, -1:]], dim=2)
        return self.norm(self.proj(x).permute(0, 2, 3, 4, 1))


class VideoPatchEmbedding(nn.Module):
    """Video Swin's blocks of time and space, then LayerNorm. Sides are padded with zeros to multiples of a block."""

    def __init__(self, in_channels: int, out_channels: int, *, time_stride: int = 2, eps: float = 1e-5) -> None:
        super().__init__()
        self.patch = (time_stride, 4, 4)
        self.proj = nn.Conv3d(in_channels, out_channels, self.patch, self.patch)
        self.norm = nn.LayerNorm(out_channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, T, H, W) -> (B, T / time_stride, H / 4, W / 4, C_out)."""
        missing = [-size % patch for size, patch in zip(x.shape[2:], self.patch, strict=True)]
        x = F.pad(x, (0, missing[2], 0, missing[1], 0, missing[0]))
        return self.norm(self.proj(x).permute(0, 2, 3, 4, 1))


class VideoPatchMerging(PatchMerging):
    """Swin's merging, frame by frame."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, T, H, W) -> (B, T, H / 2, W / 2, C_out)."""
        return super().forward(x.transpose(1, 2).flatten(0, 1)).unflatten(0, (x.shape[0], x.shape[2]))


def to_video_windows(x: Tensor, window: Sizes) -> Tensor:
    """(B, T, H, W, C), all multiples of window -> (B * number of windows, tokens in a window, C)."""
    for axis, size in zip((1, 3, 5), window, strict=True):
        x = x.unflatten(axis, (-1, size))
    return x.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(-1, window[0] * window[1] * window[2], x.shape[-1])


def from_video_windows(windows: Tensor, window: Sizes, sizes: Sizes) -> Tensor:
    """The inverse of to_video_windows: -> (B, *sizes, C)."""
    counts = [size // side for size, side in zip(sizes, window, strict=True)]
    x = windows.view(-1, *counts, *window, windows.shape[-1])
    return x.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(-1, *sizes, windows.shape[-1])


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # the cached tensors must also serve a later training
def video_position_index(window: Sizes, full: Sizes, clamped: ClampedBias) -> Tensor:
    """Row of the bias table of a full window for each pair of positions in a window, (N, N) int64; N: its tokens."""
    tokens = window[0] * window[1] * window[2]
    shape = full if clamped == "released" else window
    axes = torch.meshgrid(*(torch.arange(size) for size in shape), indexing="ij")
    index = torch.zeros(len(axes[0].flatten()), len(axes[0].flatten()), dtype=torch.long)
    for axis, size in zip(axes, full, strict=True):
        apart = axis.flatten()[:, None] - axis.flatten()[None] + size - 1
        index = index * (2 * size - 1) + apart
    return index[:tokens, :tokens]


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def video_shift_mask(sizes: Sizes, window: Sizes, shift: Sizes) -> Tensor:
    """What may see what after a cyclic shift: (number of windows, N, N) float32, 0 or -100."""

    def bands(size: int, side: int, moved: int) -> Tensor:
        position = torch.arange(size)
        return ((position >= size - side).long() + (position >= size - moved).long()) * (moved > 0)

    frames, rows, columns = map(bands, sizes, window, shift)
    regions = frames[:, None, None] * 9 + rows[:, None] * 3 + columns
    regions = to_video_windows(regions[None, ..., None], window).squeeze(-1)
    return (regions[:, :, None] != regions[:, None, :]).float() * -100.0


class VideoWindowAttention(WindowAttention):
    """Self-attention inside windows of time and space.

    clamped: a map that is smaller than a window makes the window smaller. "exact" then takes the biases of the
    distances that there are; "released" those of the first tokens of a full window, as Video Swin's code does and its
    weights were trained with.
    """

    def __init__(
        self, channels: int, num_heads: int, window: Sizes, *, qkv_bias: bool = True, clamped: ClampedBias = "exact"
    ) -> None:
        super().__init__(channels, num_heads, 1, qkv_bias=qkv_bias)
        self.full, self.clamped = window, clamped
        rows = (2 * window[0] - 1) * (2 * window[1] - 1) * (2 * window[2] - 1)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(rows, num_heads))

    def forward_in(self, windows: Tensor, window: Sizes, mask: Tensor | None) -> Tensor:
        """(B * n, N, C) of windows of this size, mask (n, N, N) added to the logits or None -> (B * n, N, C)."""
        table = self.relative_position_bias_table
        bias = table[video_position_index(window, self.full, self.clamped).to(table.device)].permute(2, 0, 1)[None]
        return self.attended(windows, self._masked(bias, mask, windows.shape[0]))


class VideoSwinBlock(SwinBlock):
    """LayerNorm, (shifted) window attention, LayerNorm, MLP, both with residuals: over (B, T, H, W, C).

    window, shift: of frames, rows and columns. In a direction in which the map is no larger than the window, the window
    is the map and is not shifted.
    """

    attn: VideoWindowAttention

    def __init__(
        self,
        channels: int,
        num_heads: int,
        *,
        video_window: Sizes,
        shifted: bool,
        clamped: ClampedBias = "exact",
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path: float = 0.0,
        eps: float = 1e-5,
    ) -> None:
        super().__init__(
            channels, num_heads, window=1, shift=0, mlp_ratio=mlp_ratio, qkv_bias=qkv_bias, drop_path=drop_path, eps=eps
        )
        self.video_window, self.shifted = video_window, shifted
        self.attn = VideoWindowAttention(channels, num_heads, video_window, qkv_bias=qkv_bias, clamped=clamped)

    def _attend(self, x: Tensor) -> Tensor:
        sizes = x.shape[1:4]
        window, shift = self._fitted(sizes)
        missing = [-size % side for size, side in zip(sizes, window, strict=True)]
        x = F.pad(x, (0, 0, 0, missing[2], 0, missing[1], 0, missing[0]))
        padded: Sizes = (x.shape[1], x.shape[2], x.shape[3])
        mask = None
        if any(shift):
            x = x.roll([-step for step in shift], dims=(1, 2, 3))
            mask = video_shift_mask(padded, window, shift).to(x)
        x = from_video_windows(self.attn.forward_in(to_video_windows(x, window), window, mask), window, padded)
        if any(shift):
            x = x.roll(shift, dims=(1, 2, 3))
        return x[:, : sizes[0], : sizes[1], : sizes[2]]

    def _fitted(self, sizes: torch.Size) -> tuple[Sizes, Sizes]:
        """Window and shift for a map of these sizes."""
        pairs = [
            (side, side // 2 * self.shifted) if size > side else (size, 0)
            for size, side in zip(sizes, self.video_window, strict=True)
        ]
        (frames, later), (rows, down), (columns, right) = pairs
        return (frames, rows, columns), (later, down, right)
