"""Damaged descriptions of other files: captions, metadata and labels in tars, subtitles of videos, tags in images."""

import struct
from collections.abc import Iterator

from hostile_files.good import tar, video

_JSON = {
    "deep": b"[" * 200_000,
    "digits": b"9" * 100_000,
    "twice": b'{"a": 1, "a": 2}',
    "infinite": b'{"a": NaN, "b": 1e999}',
    "cut": b'{"a": ',
    "surrogate": b'{"a": "\\ud800", "\\u0000": 1}',
    "ours": b'{"source": "/etc/passwd", "id": "x", "kind": "text", "width": "w", "keyframes_s": "x", "tags": {"a": 1}}',
    "keys": b"{" + b",".join(b'"k%d": "%s"' % (number, b"v" * 50) for number in range(9_000)) + b"}",
    "long": b'{"caption": "' + b"x" * 900_000 + b'"}',
}
_SUBTITLES = {
    "cues.srt": b"1\n00:00:01,000 --> 99:59:59,000\nword\n\n" * 200_000,
    "overlap.srt": b"1\n00:00:00,000 --> 00:00:03,000\nword\n\n" * 50_000,
    "numbers.vtt": b"WEBVTT\n\n" + b"0" * 1_000_000 + b" --> " + b"9" * 1_000_000,
    "tags.ass": b"[Events]\nDialogue: 0,0:00:00.00,0:00:01.00,,,,,,," + b"{\\a" * 300_000,
    "entities.ttml": b"<!DOCTYPE a [<!ENTITY a '" + b"a" * 1000 + b"'>]><tt>" + b"&a;" * 10_000 + b"</tt>",
    "deep.ttml": b"<tt>" + b"<div>" * 100_000,
    "sync.smi": b"<SAMI><SYNC Start=" * 50_000,
    "frames.sub": b"{0}{99999999999999999999}word\n" * 10_000,
    "bytes.srt": bytes(range(256)) * 20,
    "cut.srt": b"1\n00:00:00,0",
}


def bombs(good: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield the names and bytes of the files; a video has the name of its subtitles."""
    png = good[".png"]
    for name, data in _JSON.items():
        yield f"json_{name}.tar", tar({"good_a.png": png, "x.png": png, "x.json": data, "good_b.png": png})
    for suffix, data in (
        (".cls", b"9" * 100_000),
        (".txt", b"cap " * 500_000),
        (".txt", b"\xff\xfe\xd8"),
        (".txt", b"\0" * 99),
    ):
        yield (
            f"text{len(data)}{suffix}.tar",
            tar({"good_a.png": png, "x.png": png, f"x{suffix}": data, "good_b.png": png}),
        )
    for number, (name, data) in enumerate(_SUBTITLES.items()):
        yield name, data
        yield f"{name.partition('.')[0]}.mp4", good[".mp4"] if number else video("mp4", "mpeg4", 40)
    jpg = good[".jpg"]
    yield "ifd_loop.jpg", _with_exif(jpg, [(0x8769, 4, 1, 8), (0x0112, 3, 1, 99)], next_ifd=8)
    yield "ifd_counts.jpg", _with_exif(jpg, [(0x9003, 2, 0xFFFFFFFF, 8), (0x010F, 2, 0x7FFFFFFF, 0)])
    yield "gps.jpg", _with_exif(jpg, [(0x8825, 4, 1, 0xFFFFFFF0), (0x0132, 2, 20, 0)])
    yield "xmp.jpg", _with_segment(jpg, b"http://ns.adobe.com/xap/1.0/\0" + b"<x:xmpmeta>" * 5_000)
    yield "profile.jpg", _with_segment(jpg, b"ICC_PROFILE\0\1\1" + bytes(5_000), 0xE2)


def _with_exif(jpg: bytes, entries: list[tuple[int, int, int, int]], next_ifd: int = 0) -> bytes:
    tags = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    head = b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries))
    return _with_segment(jpg, head + tags + struct.pack("<I", next_ifd))


def _with_segment(jpg: bytes, data: bytes, marker: int = 0xE1) -> bytes:
    return jpg[:2] + bytes((0xFF, marker)) + struct.pack(">H", len(data) + 2) + data + jpg[2:]
