"""Scales images as Pillow does, several times faster, to the size that a network's own preprocessing needs.

Next to the network itself, scaling is the most expensive step for a photograph. PyTorch has the same filters for bytes,
also widened where an image becomes smaller, and rounds their weights more coarsely: in photographs, one value of 255 in
some hundred differs by 1, and none by more.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers.image_processing_backends import PilBackend

from florence_rag.models.image_scaling import ImageScaling
from florence_rag.types import Frame

_FILTERS = {int(Image.Resampling.BILINEAR): "bilinear", int(Image.Resampling.BICUBIC): "bicubic"}


def resize_frame(frame: Frame, width: int, height: int, resample: int) -> Frame:
    """Resize a frame (H, W, 3) uint8 to (height, width, 3) uint8.

    `resample` is one of Pillow's filters. Filters other than bilinear and bicubic return the frame unchanged.
    """
    name = _FILTERS.get(int(resample))
    if name is None or frame.shape[:2] == (height, width):
        return frame
    # A copy, because PyTorch refuses some memory layouts and reads the wrong pixels in others.
    pixels = torch.from_numpy(np.array(frame, order="C")).permute(2, 0, 1)[None]
    resized = torch.nn.functional.interpolate(pixels, size=(height, width), mode=name, antialias=True)
    return resized[0].permute(1, 2, 0).contiguous().numpy()


def scaling_of(processor: Any) -> ImageScaling | None:
    """Return how an image processor of transformers scales and crops; None if it does more than scaling to one size."""
    if not _scales_to_one_size(processor):
        return None
    size, crop = processor.size, processor.crop_size
    return ImageScaling(
        size.shortest_edge or (size.width, size.height),
        int(processor.resample),
        (crop.width, crop.height) if processor.do_center_crop and crop else None,
    )


def resize_for(processor: Any) -> Callable[[Frame], Frame]:
    """Return a function that resizes frames to the size to which an image processor of transformers would scale them.

    Frames for a processor that does anything else than scaling to one size are returned unchanged.
    """
    scaling = scaling_of(processor)
    if scaling is None:
        return lambda frame: frame
    return lambda frame: resize_frame(frame, *scaling.scaled_size(frame.shape[1], frame.shape[0]), scaling.resample)


def _scales_to_one_size(processor: Any) -> bool:
    """Return whether a processor uses the common code of transformers, with one size."""
    steps = ("preprocess", "_preprocess", "resize")
    kind = type(processor)
    if not isinstance(processor, PilBackend) or any(getattr(kind, s) is not getattr(PilBackend, s) for s in steps):
        return False
    options = processor.to_dict()
    sizes = {name for name, value in (options["size"] or {}).items() if value}
    return bool(options["do_resize"] and options["resample"]) and sizes in ({"shortest_edge"}, {"height", "width"})
