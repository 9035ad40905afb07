"""Draws a heat map of attention weights over an image."""

from __future__ import annotations

import numpy as np
from PIL import Image

from florence_rag.types import Box, Frame
from florence_rag.viz.jpeg import outline

WARM = (255, 96, 0)
STRENGTH = 0.65


def heat_map(
    frame: Frame, weights: np.ndarray, box: Box | None = None, view: Box = (0.0, 0.0, 1.0, 1.0)
) -> Image.Image:
    """Return the image, warmer where the weights (rows, columns) are larger, with an optional box.

    Args:
        frame: The image, (H, W, 3) uint8.
        weights: Non-negative weights, (rows, columns).
        box: A box to outline, in shares of the image.
        view: The part of the image that the weights cover, in shares.

    Returns:
        A new image of the same size.
    """
    image = Image.fromarray(frame)
    size = image.size
    left, top = round(view[0] * size[0]), round(view[1] * size[1])
    covered = (max(1, round(view[2] * size[0]) - left), max(1, round(view[3] * size[1]) - top))
    levels = Image.fromarray((weights / max(float(weights.max()), 1e-12) * 255 * STRENGTH).astype(np.uint8))
    mask = Image.new("L", size)
    mask.paste(levels.resize(covered, Image.Resampling.BICUBIC), (left, top))
    image.paste(Image.new("RGB", size, WARM), mask=mask)
    if box is not None:
        outline(image, box)
    return image
