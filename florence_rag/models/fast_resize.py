"""Scales images as Pillow does, several times faster, to the size that a network's own preprocessing wants.

Scaling is much of what a photograph costs beside the network itself. PyTorch has the same filters for bytes, widened in
the same way where a picture becomes smaller, and rounds their weights more coarsely: in photographs one value of 255
in some hundred differs by 1, and none by more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers.image_processing_backends import PilBackend
from transformers.image_transforms import get_resize_output_image_size

from florence_rag.types import Frame

_STEPS = ("preprocess", "_preprocess", "resize")
Scale = Callable[[Frame], Frame]
_FILTERS = {int(Image.Resampling.BILINEAR): "bilinear", int(Image.Resampling.BICUBIC): "bicubic"}


def scaled(frame: Frame, width: int, height: int, resample: int) -> Frame:
    """Resize a frame (H, W, 3) uint8 to (height, width, 3) uint8.

    `resample` is one of Pillow's filters. Filters other than bilinear and bicubic return the frame unchanged.
    """
    name = _FILTERS.get(int(resample))
    if name is None or frame.shape[:2] == (height, width):
        return frame
    # A copy, as some memory layouts PyTorch refuses, and in others it reads the wrong pixels.
    pixels = torch.from_numpy(np.array(frame, order="C")).permute(2, 0, 1)[None]
    found = torch.nn.functional.interpolate(pixels, size=(height, width), mode=name, antialias=True)
    return found[0].permute(1, 2, 0).contiguous().numpy()


def scale_of(processor: Any) -> Scale:
    """What scales frames to the size that an image processor of transformers would, which then finds nothing to do.

    Processors that do other things than to scale to one size leave them as they are.
    """
    if not _is_plain(processor):
        return _as_it_is
    size = processor.size

    def scale(frame: Frame) -> Frame:
        height, width = size.height, size.width
        if size.shortest_edge:
            height, width = get_resize_output_image_size(
                frame, size.shortest_edge, default_to_square=False, input_data_format="channels_last"
            )
        return scaled(frame, width, height, processor.resample)

    return scale


def _is_plain(processor: Any) -> bool:
    """Whether it does what transformers' common code does, with one size."""
    if not isinstance(processor, PilBackend) or any(_overrides(type(processor), name) for name in _STEPS):
        return False
    options = processor.to_dict()
    sizes = {name for name, value in (options["size"] or {}).items() if value}
    return bool(options["do_resize"] and options["resample"]) and sizes in ({"shortest_edge"}, {"height", "width"})


def _overrides(kind: type[PilBackend], name: str) -> bool:
    return getattr(kind, name) is not getattr(PilBackend, name)


def _as_it_is(frame: Frame) -> Frame:
    return frame
