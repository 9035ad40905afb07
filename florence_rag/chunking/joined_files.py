"""Finds the videos in files that were joined as bytes, because FFmpeg stops before the last of them."""

from collections.abc import Callable, Mapping
from typing import BinaryIO, cast

_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"
_ASF = b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"
_FLV_TAGS = b"\x08\x09\x12"  # sound, images, metadata
_HEAD_BYTES = 24
_MAX_ELEMENTS = 100_000  # about 20 minutes of FLV
_MAX_PARTS = 500


def open_parts(file: BinaryIO) -> list[BinaryIO]:
    """Return each of the Matroska, MP4, MOV, WMV or FLV videos that follow each other in a file, or the file."""
    file.seek(0)
    head = file.read(4)
    end = file.seek(0, 2)
    starts = _matroska_starts(file, end) if head == _EBML else _starts(file, end, _MEASURES.get(head, _measure_mp4))
    ends = [*starts[1:], end]
    file.seek(0)
    if len(starts) < 2:
        return [file]
    return [cast(BinaryIO, _Part(file, start, end)) for start, end in zip(starts, ends, strict=True)]


def _matroska_starts(file: BinaryIO, end: int) -> list[int]:
    """FFmpeg itself reads on after a part of unknown size, as browsers write it."""
    starts: list[int] = []
    position = 0
    while len(starts) < _MAX_PARTS and (segment := _element_end(file, position, _EBML)):
        starts.append(position)
        position = _element_end(file, segment, _SEGMENT) if segment < end else 0
        if not 0 < position < end:
            break
    return starts


def _starts(file: BinaryIO, end: int, measure: Callable[[bytes], tuple[int, bool]]) -> list[int]:
    """Return where videos begin, going from element to element of a file, at most a limited number."""
    starts: list[int] = []
    position = 0
    for _ in range(_MAX_ELEMENTS):
        file.seek(position)
        size, is_start = measure(file.read(_HEAD_BYTES))
        if is_start:
            starts.append(position)
        if not starts or size < 8 or len(starts) == _MAX_PARTS:
            break
        position += size
        if position >= end:
            break
    return starts


def _measure_mp4(head: bytes) -> tuple[int, bool]:
    size = int.from_bytes(head[8:16] if head[:4] == b"\0\0\0\1" else head[:4], "big")
    return size, head[4:8] == b"ftyp"


def _measure_asf(head: bytes) -> tuple[int, bool]:
    return int.from_bytes(head[16:24], "little"), head.startswith(_ASF)


def _measure_flv(head: bytes) -> tuple[int, bool]:
    if head.startswith(b"FLV"):
        return int.from_bytes(head[5:9], "big") + 4, True
    return int.from_bytes(head[1:4], "big") + 15 if head[:1] in _FLV_TAGS and head else 0, False


def _element_end(file: BinaryIO, position: int, id: bytes) -> int:
    """Return where the element of this id ends that begins at a position; 0 if there is none or its size is unknown."""
    file.seek(position)
    head = file.read(len(id) + 8)
    if not head.startswith(id) or len(head) < len(id) + 8 or head[len(id)] == 0:
        return 0
    length = 9 - head[len(id)].bit_length()
    size = int.from_bytes(head[len(id) : len(id) + length], "big") - (1 << 7 * length)
    return 0 if size == (1 << 7 * length) - 1 else position + len(id) + length + size


class _Part:
    """A view of a part of a file, which other parts read as well."""

    def __init__(self, file: BinaryIO, start: int, end: int) -> None:
        self._file, self._start, self._size, self._position = file, start, end - start, 0

    def read(self, size: int) -> bytes:
        self._file.seek(self._start + self._position)
        data = self._file.read(max(0, min(size, self._size - self._position)))
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        self._position = max(0, offset + (0, self._position, self._size)[whence])
        return self._position

    def tell(self) -> int:
        return self._position


_MEASURES: Mapping[bytes, Callable[[bytes], tuple[int, bool]]] = {
    _ASF[:4]: _measure_asf,
    b"FLV\1": _measure_flv,
}
"""By the beginning of a file, what returns the size of its next part, and whether a video begins with it."""
