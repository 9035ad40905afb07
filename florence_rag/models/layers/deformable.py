"""Modulated deformable convolution in ordinary tensor operations, for every device and with gradients.

Paper: Deformable ConvNets v2 (arXiv 1811.11168, equation 1). Offsets lie (dy, dx) tap by tap, taps in row-major order,
as in the kernels that came with the paper.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def modulated_deform_conv(
    x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None = None, *, stride: int = 1
) -> Tensor:
    """Convolve with an odd square kernel and "same" padding; each tap has an offset and a factor at each position.

    x: (B, C, H, W). offset: (B, 2 * K * K, H_out, W_out), the pixels that a tap moves down, then right.
    mask: (B, K * K, H_out, W_out), the factor of each sample. weight: (C_out, C, K, K), bias: (C_out,).
    Returns (B, C_out, H_out, W_out). x is interpolated bilinearly and is 0 outside.
    """
    batch, channels = x.shape[:2]
    rows, columns = mask.shape[-2:]
    grid = _sampling_grid(x, offset, weight.shape[-1], stride)
    sampled = F.grid_sample(x.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False).to(x.dtype)
    weighted = sampled.view(batch, channels, -1, rows * columns) * mask.flatten(2)[:, None]
    out = weight.flatten(1) @ weighted.flatten(1, 2)
    return out.view(batch, -1, rows, columns) + (0 if bias is None else bias[:, None, None])


def _sampling_grid(x: Tensor, offset: Tensor, kernel: int, stride: int) -> Tensor:
    """Return the sampling positions (B, K * K * H_out, W_out, 2) as (x, y) in grid_sample's units.

    They are float32, because half precision would be off by a sixteenth of a pixel or more.
    """
    batch, _, rows, columns = offset.shape
    tap = torch.arange(kernel, device=x.device) - kernel // 2
    down, right = (part.flatten()[:, None, None] for part in torch.meshgrid(tap, tap, indexing="ij"))
    y = torch.arange(rows, device=x.device)[:, None] * stride + down
    x_ = torch.arange(columns, device=x.device)[None] * stride + right
    offsets = offset.float().view(batch, kernel * kernel, 2, rows, columns)
    positions = torch.stack([x_ + offsets[:, :, 1], y + offsets[:, :, 0]], dim=-1)
    # The center of pixel 0 is at 0.5; -1 and 1 are the outer edges.
    size = positions.new_tensor([x.shape[-1], x.shape[-2]])
    return ((2 * positions + 1) / size - 1).view(batch, -1, columns, 2)


class DeformConvNorm(nn.Module):
    """Modulated deformable 3 x 3 convolution, then GroupNorm."""

    def __init__(self, channels: int, *, stride: int = 1, groups: int = 16) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv2d(channels, channels, 3, stride, padding=1)
        self.norm = nn.GroupNorm(groups, channels)

    def forward(self, x: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
        """X (B, C, H, W), offset (B, 18, H_out, W_out), mask (B, 9, H_out, W_out) -> (B, C, H_out, W_out)."""
        weight, bias = self.conv.weight, self.conv.bias
        return self.norm(modulated_deform_conv(x, offset, mask, weight, bias, stride=self.stride))
