"""The three attentions of Dynamic Head in one block: over levels (scale), positions (space) and channels (task).

Paper: Dynamic Head (arXiv 2106.08322, section 3.2, equations 3 to 5), with the hard sigmoid and the DyReLU-A of
Dynamic ReLU (arXiv 2003.10027). Reference code: microsoft/DynamicHead.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from florence_rag.models.layers.deformable import DeformConvNorm

CoarseReading = Literal["resized", "released"]
"""How a block reads the coarser level: see DynamicBlock."""


class DynamicReLU(nn.Module):
    """Task-aware attention (equation 5): the maximum of two lines for each channel, with slopes from the whole map."""

    def __init__(self, channels: int, reduction: int = 4) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(channels, channels // reduction), nn.ReLU(), nn.Linear(channels // reduction, 4 * channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        # In [-0.5, 0.5], and 0 before training: slopes 1 and 0, offsets 0.
        coefficients = F.hardsigmoid(self.fc(x.mean(dim=(2, 3))))[:, :, None, None] - 0.5
        slope1, offset1, slope2, offset2 = coefficients.chunk(4, dim=1)
        return torch.maximum(x * (2 * slope1 + 1) + offset1, x * 2 * slope2 + offset2)


class DynamicBlock(nn.Module):
    """One block of the head; levels from fine to coarse, each about half as large as the one before.

    A level convolves itself, the finer level at stride 2 and the enlarged coarser one, all at the offsets of its own
    map (equation 4: spatial), and takes the mean of the three, each with one weight (equation 3: scale).

    coarse: "resized" enlarges the coarser level before the convolution, so that an offset means the same position on
    all levels. "released" enlarges it afterwards, and takes the offsets, which fit a map twice as large, from the start
    of their memory, as the released kernel does and released weights need.
    """

    def __init__(self, channels: int, *, groups: int = 16, coarse: CoarseReading = "resized") -> None:
        super().__init__()
        self.coarse = coarse
        self.offset = nn.Conv2d(channels, 27, 3, padding=1)
        self.from_coarser = DeformConvNorm(channels, groups=groups)
        self.from_same = DeformConvNorm(channels, groups=groups)
        self.from_finer = DeformConvNorm(channels, groups=groups, stride=2)
        self.scale = nn.Conv2d(channels, 1, 1)
        self.task = DynamicReLU(channels)

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Each (B, C, H_i, W_i) -> the same shapes."""
        finer, coarser = [None, *levels[:-1]], [*levels[1:], None]
        return [self._level(*three) for three in zip(levels, finer, coarser, strict=True)]

    def _level(self, x: Tensor, finer: Tensor | None, coarser: Tensor | None) -> Tensor:
        offset, mask = self.offset(x).split((18, 9), dim=1)
        mask = mask.sigmoid()
        parts = [self.from_same(x, offset, mask)]
        if finer is not None:
            parts.append(self.from_finer(finer, offset, mask))
        if coarser is not None:
            parts.append(self.convolve_coarser(coarser, offset, mask))
        # One weight in [0.5, 1] for each part.
        weights = [F.hardsigmoid(F.relu(self.scale(part.mean(dim=(2, 3), keepdim=True)))) for part in parts]
        return self.task(torch.stack([part * weight for part, weight in zip(parts, weights, strict=True)]).mean(dim=0))

    def convolve_coarser(self, coarser: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
        """Coarser level (B, C, H / 2, W / 2), offset (B, 18, H, W), mask (B, 9, H, W) -> (B, C, H, W)."""
        size = offset.shape[-2:]
        if self.coarse == "resized":
            return self.from_coarser(_resized(coarser, size), offset, mask)
        shape = coarser.shape[-2:]
        return _resized(self.from_coarser(coarser, _front(offset, shape), _front(mask, shape)), size)


def _resized(x: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)


def _front(x: Tensor, size: Sequence[int]) -> Tensor:
    """Reinterpret the first numbers in the memory of each image, (B, C, H, W), as a smaller map: (B, C, *size)."""
    count = x.shape[1] * size[0] * size[1]
    return x.flatten(1)[:, :count].reshape(x.shape[0], x.shape[1], *size)
