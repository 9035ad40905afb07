"""From pixels or finer tokens to coarser tokens: CvT's convolutions, and Swin's patches that they replace.

Convolutional token embedding: CvT (arXiv 2103.15808, section 3.1), and Florence (arXiv 2111.11432, section 2.2) for its
3D form, whose code was never published. Patch embedding and merging: Swin (arXiv 2103.14030, section 3.1) and Video
Swin (arXiv 2106.13230, section 3.1), reference code microsoft/UniCL and Video Swin's. All modules map (B, C_in, H, W)
to (B, H', W', C_out) or (B, C_in, T, H, W) to (B, T', H', W', C_out): channels last.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ConvEmbedding(nn.Module):
    """Overlapping convolution, then LayerNorm over channels.

    The first stage uses kernel 7, stride 4, padding 2; later stages kernel 3, stride 2, padding 1. With a time stride
    the kernel is three frames deep. A clip is continued by its first and its last frame: zeros would be a flash.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, first: bool, time_stride: int | None = None, eps: float = 1e-5
    ) -> None:
        super().__init__()
        kernel, stride, padding = (7, 4, 2) if first else (3, 2, 1)
        self.proj: nn.Module
        if time_stride is None:
            self.proj = nn.Conv2d(in_channels, out_channels, kernel, stride, padding)
        else:
            sizes = (3, kernel, kernel), (time_stride, stride, stride), (0, padding, padding)
            self.proj = nn.Conv3d(in_channels, out_channels, *sizes)
        self.norm = nn.LayerNorm(out_channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, [T,] H, W) -> (B, [T / time_stride,] H / stride, W / stride, C_out)."""
        if x.ndim == 5:
            x = torch.cat([x[:, :, :1], x, x[:, :, -1:]], dim=2)
        return self.norm(self.proj(x).movedim(1, -1))


class PatchEmbedding(nn.Module):
    """Swin's non-overlapping patches, 4 x 4 pixels and `time_stride` frames, then LayerNorm.

    The sides are padded with zeros to multiples of the patch.
    """

    def __init__(self, in_channels: int, out_channels: int, *, time_stride: int | None = None, eps: float = 1e-5):
        super().__init__()
        self.patch = (4, 4) if time_stride is None else (time_stride, 4, 4)
        convolution: type[nn.Module] = nn.Conv2d if time_stride is None else nn.Conv3d
        self.proj = convolution(in_channels, out_channels, self.patch, self.patch)
        self.norm = nn.LayerNorm(out_channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, [T,] H, W) -> (B, [T / time_stride,] H / 4, W / 4, C_out)."""
        missing = [-size % patch for size, patch in zip(x.shape[2:], self.patch, strict=True)]
        x = F.pad(x, [pad for side in reversed(missing) for pad in (0, side)])
        return self.norm(self.proj(x).movedim(1, -1))


class PatchMerging(nn.Module):
    """Swin's merging of 2 x 2 neighbors, frame by frame: concatenate, LayerNorm, reduce without bias.

    The order of the four is (row, column) = (0, 0), (1, 0), (0, 1), (1, 1), as in the released weights.
    """

    def __init__(self, in_channels: int, out_channels: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * in_channels, eps=eps)
        self.reduction = nn.Linear(4 * in_channels, out_channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, [T,] H, W) -> (B, [T,] H / 2, W / 2, C_out); odd sides are padded with zeros."""
        height, width = x.shape[-2:]
        x = F.pad(x, (0, width % 2, 0, height % 2)).movedim(1, -1)
        neighbors = [x[..., row::2, column::2, :] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(torch.cat(neighbors, dim=-1)))
