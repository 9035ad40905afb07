"""Detects near-duplicate images, and shots of one burst, from a perceptual hash of each image.

The hash has two difference hashes of 64 bits, which compare the gray value of each cell with its left and its upper
neighbor, and the mean colors of a 3 x 3 grid. Difference hashes alone confuse a red car with a blue one, and plain
walls with each other. Scaling, compression and slight changes of brightness hardly change the hash; cropping and
rotation do.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
from PIL import Image

from florence_rag.types import PERCEPTUAL_HASH, Frame

_CELLS = 9
_STEP = 1.5  # of 255; a smaller difference between two cells is compression noise
_BYTES = 16 + 27
_GRAY = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_SAME_BITS, _SAME_COLOR = 10, 12
_BURST_BITS, _BURST_COLOR, _BURST_S = 40, 48, 5.0


def hash_image(frame: Frame) -> str:
    """Return the perceptual hash of an image (H, W, 3) uint8 RGB as 60 characters of Base64."""
    small = Image.fromarray(frame).resize((_CELLS, _CELLS), Image.Resampling.BOX)
    cells = np.asarray(small, dtype=np.float32)
    gray = cells @ _GRAY
    across = gray[:-1, 1:] - gray[:-1, :-1] > _STEP
    down = gray[1:, :-1] - gray[:-1, :-1] > _STEP
    fields = cells.reshape(3, 3, 3, 3, 3).mean(axis=(1, 3)).round().astype(np.uint8)
    return b64encode(np.packbits([across, down]).tobytes() + fields.tobytes()).decode()


class PerceptualHashes:
    """Finds near-duplicates of images by their metadata.

    Images are numbered in insertion order. An image without a valid hash matches no other.
    """

    def __init__(self) -> None:
        self._count = 0
        self._bits = np.empty((16, 2), dtype=np.uint64)
        self._colors = np.empty((16, 27), dtype=np.int16)
        self._times_s = np.empty(16, dtype=np.float64)
        self._cameras = np.empty(16, dtype=np.int64)

    def add(self, metadata: Mapping[str, Any]) -> int:
        """Add an image; return its number, from 0."""
        if self._count == len(self._bits):
            for name in ("_bits", "_colors", "_times_s", "_cameras"):
                rows = getattr(self, name)
                setattr(self, name, np.concatenate([rows, np.empty_like(rows)]))
        read = _read(metadata)
        number = self._count
        self._bits[number], self._colors[number] = read if read else (0, -1000)
        self._times_s[number], self._cameras[number] = _taken(metadata)
        self._count += 1
        return number

    def find(self, metadata: Mapping[str, Any], *, bursts: bool = True) -> int | None:
        """Return the number of the first near-duplicate, or None.

        With `bursts`, a similar image that the same camera took within five seconds also counts.
        """
        read = _read(metadata)
        if read is None or not self._count:
            return None
        n = self._count
        bits = np.bitwise_count(self._bits[:n] ^ read[0]).sum(axis=1, dtype=np.int64)
        color = np.abs(self._colors[:n] - read[1]).max(axis=1)
        alike = (bits <= _SAME_BITS) & (color <= _SAME_COLOR)
        if bursts:
            time_s, camera = _taken(metadata)
            near = (self._cameras[:n] == camera) & (np.abs(self._times_s[:n] - time_s) <= _BURST_S)
            alike |= near & (bits <= _BURST_BITS) & (color <= _BURST_COLOR)
        found = alike.argmax()
        return int(found) if alike[found] else None


def _read(metadata: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray] | None:
    """Return two words of bits and 27 colors; None for metadata without a valid hash."""
    try:
        data = b64decode(metadata.get(PERCEPTUAL_HASH) or "", validate=True)
    except (Base64Error, TypeError, ValueError):
        return None
    if len(data) != _BYTES:
        return None
    return np.frombuffer(data[:16], dtype=np.uint64), np.frombuffer(data[16:], dtype=np.uint8).astype(np.int16)


def _taken(metadata: Mapping[str, Any]) -> tuple[float, int]:
    """Return the time in seconds, NaN if it is unknown, and the camera."""
    try:
        taken = datetime.fromisoformat(metadata["taken_at"])
    except (KeyError, TypeError, ValueError):
        return np.nan, 0
    return (taken.replace(tzinfo=None) - datetime(1970, 1, 1)).total_seconds(), hash(str(metadata.get("camera", "")))
