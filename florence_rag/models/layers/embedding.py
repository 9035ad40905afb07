"""From pixels or finer tokens to coarser tokens: CvT's convolutions, and Swin's patches that they replace.

Convolutional token embedding: CvT (arXiv 2103.15808, section 3.1). Patch embedding and merging: Swin (arXiv 2103.14030,
section 3.1), reference code microsoft/UniCL. All modules map (B, C_in, H, W) to (B, H', W', C_out): channels last.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ConvEmbedding(nn.Module):
    """Overlapping convolution, then LayerNorm over channels.

    The first stage uses kernel 7, stride 4, padding 2; later stages kernel 3, stride 2, padding 1.
    """

    def __init__(self, in_channels: int, out_channels: int, *, first: bool, eps: float = 1e-5) -> None:
        super().__init__()
        kernel, stride, padding = (7, 4, 2) if first else (3, 2, 1)
        self.proj = nn.Conv2d(in_channels, out_channels, kernel, stride, padding)
        self.norm = nn.LayerNorm(out_channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, H / stride, W / stride, C_out)."""
        return self.norm(self.proj(x).permute(0, 2, 3, 1))


class PatchEmbedding(nn.Module):
    """Swin's non-overlapping patches, then LayerNorm. Sides are padded with zeros to multiples of the patch."""

    def __init__(self, in_channels: int, out_channels: int, *, patch_size: int = 4, eps: float = 1e-5) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv2d(in_channels, out_channels, patch_size, patch_size)
        self.norm = nn.LayerNorm(out_channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, H / patch_size, W / patch_size, C_out)."""
        height, width = x.shape[-2:]
        x = F.pad(x, (0, -width % self.patch_size, 0, -height % self.patch_size))
        return self.norm(self.proj(x).permute(0, 2, 3, 1))


class PatchMerging(nn.Module):
    """Swin's merging of 2 x 2 neighbors: concatenate, LayerNorm, reduce without bias.

    The order of the four is (row, column) = (0, 0), (1, 0), (0, 1), (1, 1), as in the released weights.
    """

    def __init__(self, in_channels: int, out_channels: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * in_channels, eps=eps)
        self.reduction = nn.Linear(4 * in_channels, out_channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, H / 2, W / 2, C_out); odd sides are padded with zeros."""
        height, width = x.shape[-2:]
        x = F.pad(x, (0, width % 2, 0, height % 2)).permute(0, 2, 3, 1)
        neighbors = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(torch.cat(neighbors, dim=-1)))
