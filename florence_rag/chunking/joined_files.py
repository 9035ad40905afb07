"""Finds the parts of videos that were joined as bytes, because FFmpeg stops before the last of them.

It stops after the second part of a Matroska or WebM file, and after the first of an MP4 or MOV file.
"""

from typing import BinaryIO, cast

_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"
_MAX_PARTS = 10_000


def unknown_sizes(file: BinaryIO) -> dict[int, bytes]:
    """Return what to write over the sizes of the parts of a Matroska file, by position; nothing for one part.

    FFmpeg reads on after a part of unknown size, as browsers write it.
    """
    patches: dict[int, bytes] = {}
    position = 0
    while len(patches) < _MAX_PARTS:
        segment, _ = _element_end(file, position, _EBML)
        end, length = _element_end(file, segment, _SEGMENT)
        if not end:
            break
        patches[segment + len(_SEGMENT)] = bytes([(2 << (8 - length)) - 1]) + b"\xff" * (length - 1)
        position = end
    return patches if len(patches) > 1 else {}


def patch(file: BinaryIO, patches: dict[int, bytes]) -> BinaryIO:
    """Return a view of a file with some bytes replaced."""
    return cast(BinaryIO, _PatchedFile(file, patches))


def count_mp4_parts(file: BinaryIO) -> int:
    """Return how many videos an MP4 or MOV file contains one behind the other; 0 for other files."""
    position, count = 0, 0
    for _ in range(_MAX_PARTS):
        file.seek(position)
        head = file.read(16)
        size = int.from_bytes(head[8:16] if head[:4] == b"\0\0\0\1" else head[:4], "big")
        count += head[4:8] == b"ftyp"
        if not count or size < 8:
            break
        position += size
    return count


def _element_end(file: BinaryIO, position: int, id: bytes) -> tuple[int, int]:
    """Return where the element of this id ends that begins at a position, and the length of its size; 0, 0 if none."""
    file.seek(position)
    head = file.read(len(id) + 8)
    if not head.startswith(id) or len(head) < len(id) + 8 or head[len(id)] == 0:
        return 0, 0
    length = 9 - head[len(id)].bit_length()
    size = int.from_bytes(head[len(id) : len(id) + length], "big") - (1 << 7 * length)
    is_unknown = size == (1 << 7 * length) - 1
    return (0, 0) if is_unknown else (position + len(id) + length + size, length)


class _PatchedFile:
    def __init__(self, file: BinaryIO, patches: dict[int, bytes]) -> None:
        self._file, self._patches = file, patches

    def read(self, size: int) -> bytes:
        start = self._file.tell()
        data = bytearray(self._file.read(size))
        for position, patch in self._patches.items():
            for at, byte in enumerate(patch, start=position - start):
                if 0 <= at < len(data):
                    data[at] = byte
        return bytes(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()
