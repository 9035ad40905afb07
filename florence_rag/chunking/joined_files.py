"""Finds the videos in files that were joined as bytes, because FFmpeg stops before the last of them."""

from typing import BinaryIO, cast

_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"
_MAX_PARTS = 500


def open_parts(file: BinaryIO) -> list[BinaryIO]:
    """Return each of the Matroska, WebM, MP4 or MOV videos that follow each other in a file; the file if it is one."""
    file.seek(0)
    starts = _matroska_starts(file) if file.read(4) == _EBML else _mp4_starts(file)
    ends = [*starts[1:], file.seek(0, 2)]
    file.seek(0)
    if len(starts) < 2:
        return [file]
    return [cast(BinaryIO, _Part(file, start, end)) for start, end in zip(starts, ends, strict=True)]


def _matroska_starts(file: BinaryIO) -> list[int]:
    """FFmpeg itself reads on after a part of unknown size, as browsers write it."""
    starts: list[int] = []
    position = 0
    while len(starts) < _MAX_PARTS and (segment := _element_end(file, position, _EBML)):
        starts.append(position)
        position = _element_end(file, segment, _SEGMENT)
        if not position:
            break
    return starts


def _mp4_starts(file: BinaryIO) -> list[int]:
    starts: list[int] = []
    position = 0
    while len(starts) < _MAX_PARTS:
        file.seek(position)
        head = file.read(16)
        size = int.from_bytes(head[8:16] if head[:4] == b"\0\0\0\1" else head[:4], "big")
        if head[4:8] == b"ftyp":
            starts.append(position)
        if not starts or size < 8:
            break
        position += size
    return starts


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
