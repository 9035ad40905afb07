"""Which parts of an image a text was compared with, by occlusion (Zeiler, Fergus, ECCV 2014).

Each part of the image is covered in turn; the more the cosine to the text falls, the more the part shows of it. That
says what any embedder does, because it asks the embedder itself. The vectors of patches do not: those of the last
stage see the whole image, and of a hierarchical encoder they rarely point at the object.
"""

import numpy as np
from PIL import Image

from florence_rag.batching import batched
from florence_rag.embedding.base import Embedder
from florence_rag.types import Frame

CELLS = 8
"""The rows and the columns of a heat map. Each of its cells costs the embedding of one image."""
_COVER = 1.5  # the side of what is covered, in cells: neighbors overlap, so an object between two cells is found
_SIDE_PX = 448
_BATCH = 16


def occlusion_map(embedder: Embedder, frame: Frame, vector: np.ndarray) -> np.ndarray:
    """Return how much the cosine of an image to a unit vector (D,) falls if a part is covered, (CELLS, CELLS), >= 0."""
    image = Image.fromarray(frame)
    image.thumbnail((embedder.capabilities.detail_px or _SIDE_PX,) * 2)
    small = np.asarray(image)
    color = small.mean(axis=(0, 1)).astype(np.uint8)
    places = [(row, column) for row in range(CELLS) for column in range(CELLS)]
    cosines = np.concatenate(
        [
            embedder.embed_images([_covered(small, *place, color) for place in some]) @ vector
            for some in batched(places, _BATCH)
        ]
    )
    falls = float((embedder.embed_images([small]) @ vector)[0]) - cosines
    return np.maximum(falls, 0.0).astype(np.float32).reshape(CELLS, CELLS)


def _covered(frame: Frame, row: int, column: int, color: np.ndarray) -> Frame:
    covered = frame.copy()
    rows, columns = (_span(place, side) for place, side in zip((row, column), frame.shape, strict=False))
    covered[rows, columns] = color
    return covered


def _span(place: int, side_px: int) -> slice:
    """Return the pixels that are covered at a cell, of at least one."""
    start, end = ((place + 0.5 + sign * _COVER / 2) * side_px / CELLS for sign in (-1, 1))
    return slice(max(0, int(start)), max(1, round(end)))
