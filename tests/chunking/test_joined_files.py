import io

from florence_rag.chunking.joined_files import count_mp4_parts, patch, unknown_sizes

HEADER = b"\x1a\x45\xdf\xa3\x82ab"


def segment(size: bytes, content: bytes) -> bytes:
    return HEADER + b"\x18\x53\x80\x67" + size + content


def test_the_sizes_of_unknown_sizes_are_found_and_hidden():
    whole = segment(b"\x83", b"one") + segment(b"\x40\x03", b"two") + segment(b"\x01" + bytes(6) + b"\x05", b"three")
    parts = unknown_sizes(io.BytesIO(whole))
    assert parts == {11: b"\xff", 26: b"\x7f\xff", 42: b"\x01" + b"\xff" * 7}
    unknown = segment(b"\xff", b"one") + segment(b"\x7f\xff", b"two") + segment(b"\x01" + b"\xff" * 7, b"three")
    for step in (1, 7, 1000):
        file = patch(io.BytesIO(whole), parts)
        assert b"".join(iter(lambda file=file, step=step: file.read(step), b"")) == unknown
    file.seek(40)
    assert (file.read(4), file.tell()) == (unknown[40:44], 44)


def test_one_part_unknown_sizes_and_other_files_stay_as_they_are():
    one = segment(b"\x83", b"one")
    for data in (
        b"",
        b"abc",
        one,
        one + b"more",
        segment(b"\xff", b"one") + one,
        one[:-5],
        b"\x1a\x45\xdf\xa3" + bytes(20),
    ):
        assert unknown_sizes(io.BytesIO(data)) == {}


def test_the_parts_of_mp4_files_are_counted():
    part = b"\0\0\0\x0cftypisom" + b"\0\0\0\1mdat" + (19).to_bytes(8, "big") + b"abc" + b"\0\0\0\x08moov"
    counts = [count_mp4_parts(io.BytesIO(data)) for data in (b"", b"abc", part, part * 3, part[:-3], part + bytes(99))]
    assert counts == [0, 0, 1, 3, 1, 1]
