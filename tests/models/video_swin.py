"""A small Video Swin of the original code: its configuration, its layout and clips for it."""

import torch
from torch import Tensor

from florence_rag.models.video_coswin import VideoCoSwinConfig
from tests.models.fill import fill_value
from tests.models.layouts import video_swin
from tests.models.reference import PUBLIC

FIXTURE = PUBLIC / "video_swin_small"
SIZES = {"a": (2, 16, 3, 56, 64), "b": (1, 8, 3, 48, 48), "c": (1, 5, 3, 42, 44)}
SMALL = VideoCoSwinConfig(
    embed_dim=16,
    depths=(2, 2, 2, 1),
    num_heads=(1, 2, 4, 8),
    windows=((4, 3),) * 4,
    convolutional=False,
    clamped_bias="released",
    id2label={i: str(i) for i in range(11)},
)
LAYOUT = video_swin(16, (2, 2, 2, 1), (1, 2, 4, 8), (4, 3), 11)


def clip(name: str) -> Tensor:
    """A clip by the rule of the weights, so that it needs no file."""
    numbers = torch.from_numpy(fill_value(f"clip.{name}", SIZES[name], 0))
    return numbers / numbers.std()


def as_map(tokens: Tensor, like: Tensor) -> Tensor:
    """(B, N, C) -> (B, C, T, H, W)."""
    return tokens.transpose(1, 2).reshape(like.shape)
