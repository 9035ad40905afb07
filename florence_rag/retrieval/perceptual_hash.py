"""Detects near-duplicate images, and shots of one burst, from a perceptual hash of each image.

The hash has two difference hashes of 64 bits, which compare the gray value of each cell with its left and its upper
neighbor, and the mean colors of a 3 x 3 grid. Difference hashes alone confuse a red car with a blue one, and plain
walls with each other. Scaling, compression and slight changes of brightness hardly change the hash; cropping and
rotation do.
"""

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

import numpy as np
from PIL import Image

from florence_rag.types import PERCEPTUAL_HASH, Frame

_CELLS = 9
_MIN_STEP = 1.5  # of 255; a smaller difference between two cells is compression noise
_BYTES = 16 + 27
_GRAY = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_SAME_BITS, _SAME_COLOR = 10, 12
_BURST_BITS, _BURST_COLOR, _BURST_S = 40, 48, 5.0
_NO_COLOR = -1000
_ROW = np.dtype(
    [("bits", np.uint64, 2), ("colors", np.int16, 27), ("time_s", np.float64), ("camera", np.int64)], align=True
)

_NO_HASH = np.zeros((), _ROW)
_NO_HASH["colors"], _NO_HASH["time_s"] = _NO_COLOR, np.nan


def hash_image(frame: Frame) -> str:
    """Return the perceptual hash of an image (H, W, 3) uint8 RGB as 60 characters of Base64."""
    small = Image.fromarray(frame).resize((_CELLS, _CELLS), Image.Resampling.BOX)
    cells = np.asarray(small, dtype=np.float32)
    gray = cells @ _GRAY
    across = gray[:-1, 1:] - gray[:-1, :-1] > _MIN_STEP
    down = gray[1:, :-1] - gray[:-1, :-1] > _MIN_STEP
    fields = cells.reshape(3, 3, 3, 3, 3).mean(axis=(1, 3)).round().astype(np.uint8)
    return b64encode(np.packbits([across, down]).tobytes() + fields.tobytes()).decode()


class PerceptualHashes:
    """Finds near-duplicates of images by their metadata.

    Images are numbered in insertion order. An image without a valid hash matches no other.
    """

    def __init__(self) -> None:
        self._count = 0
        self._rows = np.zeros(16, _ROW)

    def add(self, metadata: Mapping[str, Any]) -> int:
        """Add an image; return its number, from 0."""
        return self._add(_row(metadata))

    def number(self, metadata: Mapping[str, Any]) -> int:
        """Return the number of the first near-duplicate, or that of the image itself, which is then added."""
        row = _row(metadata)
        found = self._find(row)
        return self._add(row) if found is None else found

    def _add(self, row: np.ndarray) -> int:
        if self._count == len(self._rows):
            self._rows = np.resize(self._rows, 2 * self._count)
        self._rows[self._count] = row
        self._count += 1
        return self._count - 1

    def find(self, metadata: Mapping[str, Any], *, bursts: bool = True) -> int | None:
        """Return the number of the first near-duplicate, or None.

        With `bursts`, a similar image that the same camera took within five seconds also counts.
        """
        return self._find(_row(metadata), bursts=bursts)

    def _find(self, row: np.ndarray, *, bursts: bool = True) -> int | None:
        rows = self._rows[: self._count]
        if row["colors"][0] == _NO_COLOR:
            return None
        bits = np.bitwise_count(rows["bits"] ^ row["bits"]).sum(axis=1, dtype=np.int64)
        near = np.flatnonzero(bits <= _BURST_BITS)
        bits, rows = bits[near], rows[near]
        colors = np.abs(rows["colors"] - row["colors"]).max(axis=1, initial=0)
        matches = (bits <= _SAME_BITS) & (colors <= _SAME_COLOR)
        if bursts:
            in_burst = (rows["camera"] == row["camera"]) & (np.abs(rows["time_s"] - row["time_s"]) <= _BURST_S)
            matches |= in_burst & (colors <= _BURST_COLOR)
        return int(near[matches.argmax()]) if matches.any() else None


def _row(metadata: Mapping[str, Any]) -> np.ndarray:
    """Return the hash with the time in seconds, NaN if it is unknown, and the camera."""
    row = _NO_HASH.copy()
    if PERCEPTUAL_HASH not in metadata:
        return row
    with suppress(Base64Error, TypeError, ValueError):
        data = b64decode(metadata.get(PERCEPTUAL_HASH) or "", validate=True)
        if len(data) == _BYTES:
            row["bits"] = np.frombuffer(data[:16], dtype=np.uint64)
            row["colors"] = np.frombuffer(data[16:], dtype=np.uint8)
    with suppress(KeyError, TypeError, ValueError):
        taken_at = datetime.fromisoformat(metadata["taken_at"]).replace(tzinfo=None)
        row["time_s"] = (taken_at - datetime(1970, 1, 1)).total_seconds()
        row["camera"] = hash(str(metadata.get("camera", "")))
    return row
