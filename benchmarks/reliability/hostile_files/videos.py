"""Videos whose headers lie, and playlists that name other files."""

import struct
from collections.abc import Iterator

_LIES = (
    (b"mvhd", 20, 0xFFFFFFFF),
    (b"mdhd", 20, 0xFFFFFFFF),
    (b"stts", 12, 0x7FFFFFFF),
    (b"stts", 16, 0x7FFFFFF0),
    (b"stsz", 12, 0x0FFFFFFF),
    (b"stsc", 12, 0x7FFFFFFF),
    (b"stco", 8, 0x7FFFFFFF),
    (b"tkhd", 80, 30_000 << 16),
)


def bombs(good: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield the names and bytes of the videos."""
    video = good[".mp4"]
    for atom, offset, value in _LIES:
        at = video.find(atom) + offset
        yield f"{atom.decode()}{offset}.mp4", video[:at] + struct.pack(">I", value) + video[at + 4 :]
    size = video.find(b"mp4v") + 28
    yield "pixels.mp4", video[:size] + struct.pack(">HH", 60_000, 60_000) + video[size + 4 :]
    nested = b"".join(struct.pack(">I", 80_000 - 8 * depth) + b"moov" for depth in range(10_000))
    yield "nested.mp4", video[:32] + nested
    yield "zeros.mp4", bytes(1_000_000)
    yield "playlist.mp4", b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n#EXTINF:1,\nhttp://127.0.0.1:1/x.ts\n"
    yield "concat.mkv", b"ffconcat version 1.0\nfile /etc/passwd\n"
    yield "element.mkv", good[".mkv"].replace(b"\x1f\x43\xb6\x75", b"\x1f\x43\xb6\x75\x01\x7f\xff\xff\xff\xff\xff\xff")
    yield "index.avi", good[".avi"].replace(b"idx1", b"idx1\xff\xff\xff\x7f", 1)
