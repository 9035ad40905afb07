import io

import pytest

from florence_rag.chunking.joined_files import open_parts

EBML = b"\x1a\x45\xdf\xa3\x82ab"
MP4 = b"\0\0\0\x0cftypisom" + b"\0\0\0\1mdat" + (19).to_bytes(8, "big") + b"abc" + b"\0\0\0\x08moov"

FLV = b"FLV\1\5\0\0\0\x09\0\0\0\0" + b"\x09\0\0\3" + bytes(7) + b"abc" + b"\0\0\0\x0e"
ASF = b"\x30\x26\xb2\x75\x8e\x66\xcf\x11" + bytes(8) + (27).to_bytes(8, "little") + b"abc"


def matroska(size: bytes, content: bytes) -> bytes:
    return EBML + b"\x18\x53\x80\x67" + size + content


@pytest.mark.parametrize(
    "parts",
    [
        [matroska(b"\x83", b"one"), matroska(b"\x40\x03", b"two"), matroska(b"\x01" + bytes(6) + b"\x05", b"three")],
        [matroska(b"\x83", b"one"), matroska(b"\xff", b"two") + matroska(b"\x85", b"three")],
        [MP4, MP4, MP4[:-3]],
        [FLV, FLV + FLV[13:], FLV[:-3]],
        [ASF, ASF, ASF[:-1]],
    ],
)
def test_the_parts_of_joined_files_are_files(parts):
    opened = open_parts(io.BytesIO(b"".join(parts)))
    for step in (1, 7, 1000):
        for part, content in zip(opened, parts, strict=True):
            part.seek(0)
            assert b"".join(iter(lambda part=part, step=step: part.read(step), b"")) == content
    last = opened[-1]
    assert (last.seek(-4, 2), last.read(2), last.tell()) == (len(parts[-1]) - 4, parts[-1][-4:-2], len(parts[-1]) - 2)


ONE = matroska(b"\x83", b"one")
STREAMED = matroska(b"\xff", b"one")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"abc",
        ONE,
        ONE + b"more",
        matroska(b"\xff", b"one") + ONE,
        ONE[:-5],
        EBML[:4] + bytes(20),
        MP4,
        MP4 + bytes(99),
        MP4 + b"\0\0\0\x08free" * 200_000 + MP4,
        FLV + bytes(99),
        ASF + bytes(99),
        EBML[:4] + b"\x01" + b"\xfe" * 30,
        MP4 + b"\0\0\0\1free" + b"\xff" * 30,
        ASF[:16] + b"\xff" * 30,
    ],
)
def test_other_files_stay_as_they_are(data):
    file = io.BytesIO(data)
    assert open_parts(file) == [file] and file.tell() == 0
