import tarfile
from dataclasses import dataclass

import pytest

from florence_rag.errors import InputError, MediaError
from florence_rag.sources.discovery import discover
from florence_rag.sources.io import is_path, open_uri, read_sidecar
from florence_rag.sources.io.tars import read_index, stem_of
from florence_rag.types import Failure, Skipped, Source
from tests.sources.io.makers import png, write_tar


def read(uri):
    with open_uri(uri) as file:
        return file.read()


def test_a_member_is_read_with_the_sidecars_of_its_sample(tmp_path):
    tar = write_tar(
        tmp_path / "a#b.tar",
        {
            "x/1.png": png("red"),
            "x/1.txt": "a red thing\n",
            "x/1.json": '{"city": "Rome"}',
            "x/1.cls": "7",
            "x/2.png": "?",
        },
    )
    uri = f"tar:{tar}#x/1.png"
    assert not is_path(uri)
    assert read(uri) == png("red")
    assert read_sidecar(uri).caption == "a red thing"
    assert read_sidecar(uri).metadata == {"city": "Rome", "cls": 7}
    assert read_sidecar(f"tar:{tar}#x/2.png").caption == ""


def test_a_caption_may_be_in_the_metadata(tmp_path):
    tar = write_tar(tmp_path / "a.tar", {"1.png": b"x", "1.json": '{"caption": "a cat", "n": 1}'})
    sidecar = read_sidecar(f"tar:{tar}#1.png")
    assert (sidecar.caption, sidecar.metadata) == ("a cat", {"n": 1})


def test_names_with_percent_and_hash_signs_are_found(tmp_path):
    tar = write_tar(tmp_path / "a.tar", {"50%#1.png": b"x", "ü/é.png": b"y"})
    assert read(f"tar:{tar}#50%25%231.png") == b"x"
    assert read(f"tar:{tar}#ü/é.png") == b"y"


def test_a_stem_ends_at_the_first_dot():
    assert stem_of("a.b/1.seg.png") == stem_of("a.b/1.txt") == "a.b/1"


def test_a_changed_tar_is_read_again(tmp_path):
    tar = write_tar(tmp_path / "a.tar", {"1.png": b"x"})
    assert list(read_index(str(tar)).files) == ["1.png"]
    write_tar(tar, {"1.png": b"x", "2.png": b"y" * 20_000})
    assert list(read_index(str(tar)).files) == ["1.png", "2.png"]


@pytest.mark.parametrize("cut", [0.5, 0.72])
def test_a_cut_tar_gives_the_files_before_the_cut(tmp_path, cut):
    tar = write_tar(tmp_path / "a.tar", {f"{i}.png": bytes([i]) * 3000 for i in range(8)})
    tar.write_bytes(tar.read_bytes()[: int(8 * 3584 * cut)])
    index = read_index(str(tar))
    assert 2 < len(index.files) < 8
    assert index.problem == "is truncated or damaged"
    assert read(f"tar:{tar}#1.png") == bytes([1]) * 3000


def test_damage_in_the_middle_is_reported(tmp_path):
    tar = write_tar(tmp_path / "a.tar", {f"{i}.png": bytes(3000) for i in range(4)})
    data = bytearray(tar.read_bytes())
    data[2 * 3584 : 2 * 3584 + 512] = b"\xaa" * 512
    tar.write_bytes(data)
    assert len(read_index(str(tar)).files) == 2
    assert "damaged" in read_index(str(tar)).problem


@pytest.mark.parametrize(
    ("data", "problem"),
    [(b"", "not a tar"), (b"<html>" * 500, "not a tar"), (b"\x1f\x8b" + bytes(900), "compressed")],
)
def test_a_file_that_is_no_tar_is_reported(tmp_path, data, problem):
    tar = tmp_path / "a.tar"
    tar.write_bytes(data)
    assert problem in read_index(str(tar)).problem


def test_a_compressed_tar_is_reported_with_advice(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w:gz"):
        pass
    assert "unpack it" in read_index(str(tmp_path / "a.tar")).problem


def test_missing_members_are_one_line(tmp_path):
    tar = write_tar(tmp_path / "a.tar", {"1.png": b"x", "1.json": "{"})
    with pytest.raises(InputError, match=r"no member '2.png'"):
        read(f"tar:{tar}#2.png")
    with pytest.raises(InputError, match="cannot be read"):
        read(f"tar:{tmp_path}/gone.tar#1.png")
    with pytest.raises(MediaError, match=r"'1.json' in .* is not JSON"):
        read_sidecar(f"tar:{tar}#1.png")


@dataclass
class Listed:
    """What an index run takes from a tar, by the names of its members."""

    indexed: list[str]
    skipped: dict[str, str]
    failed: dict[str, str]

    @classmethod
    def of(cls, tar):
        found = list(discover([tar]))
        names = {each: each.source.removeprefix(f"tar:{tar}#") for each in found if not isinstance(each, Source)}
        return cls(
            [each.uri.removeprefix(f"tar:{tar}#") for each in found if isinstance(each, Source)],
            {name: each.reason for each, name in names.items() if isinstance(each, Skipped)},
            {name: each.reason for each, name in names.items() if isinstance(each, Failure)},
        )


def block(name: str, size: int | bytes = 0, kind: bytes = b"0") -> bytes:
    """Return a header with any size, also one that tarfile would not write."""
    size = size if isinstance(size, bytes) else b"%011o\0" % size
    head = name.encode().ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + size + b"00000000000\0"
    tail = kind + bytes(100) + b"ustar\x0000" + bytes(247)
    return head + b"%06o\0 " % (sum(head + tail) + 8 * 32) + tail


def binary_size(size: int) -> bytes:
    return (b"\xff" if size < 0 else b"\x80") + size.to_bytes(11, "big", signed=True)


@pytest.mark.parametrize(
    "header",
    [
        block("n.png", binary_size(-512)),
        block("n.png", binary_size(-(2**80))),
        block("n.png", binary_size(2**62)),
        block("n.png", binary_size(2**80)),
        block("././@LongLink", binary_size(2**40), b"L"),
        block("././@LongLink", binary_size(-512), b"L"),
        block("././@LongLink", 1_000_000, b"L") + b"a" * 1_000_000,
        (block("././@LongLink", 6, b"L") + b"a.png".ljust(512, b"\0")) * 2000,
        block("pax", 60_000, b"x") + b"1" * 60_000,
        block("pax", 14, b"x") + b"14 size=-99999\n".ljust(512, b"\0"),
        block("s.png", 0, b"S")[:482] + b"\x01" + bytes(29),
    ],
    ids=lambda header: f"{header[:5]}-{len(header)}",
)
def test_a_header_that_lies_costs_only_the_rest_of_the_tar(tmp_path, header):
    tar = write_tar(tmp_path / "a.tar", {"good.png": png("red")})
    good = tar.read_bytes()[: 512 + -len(png("red")) % 512 + len(png("red"))]
    tar.write_bytes(good + header + good + bytes(1024))
    listed = Listed.of(tar)
    assert listed.indexed == ["good.png"]
    assert "truncated or damaged" in listed.failed[str(tar)]


def test_members_that_hold_no_file_are_named(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, kind in (("l.png", tarfile.SYMTYPE), ("h.png", tarfile.LNKTYPE), ("d.png", tarfile.CHRTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
    assert Listed.of(tmp_path / "a.tar").skipped == {
        "l.png": "link in a tar",
        "h.png": "link in a tar",
        "d.png": "sparse or special file in a tar",
    }


def test_the_last_of_the_files_with_one_name_is_read(tmp_path):
    tar = write_tar(tmp_path / "a.tar", {"a.png": png("red")})
    with tarfile.open(tar, "a") as file:
        file.add(write_tar(tmp_path / "b.tar", {}), "a.png")
    assert Listed.of(tar).skipped == {"a.png": "file that a later one in the tar replaces"}
    assert read(f"tar:{tar}#a.png") == (tmp_path / "b.tar").read_bytes()


@pytest.mark.parametrize(
    "sidecar",
    [b"[" * 200_000 + b"]" * 200_000, b"9" * 100_000, b'{"a": 1, "a": 2}', b'{"a":' * 900 + b"1" + b"}" * 900, b"\xff"],
)
def test_a_sidecar_that_cannot_be_read_costs_only_its_image(tmp_path, sidecar):
    tar = write_tar(tmp_path / "a.tar", {"a.png": png("red"), "a.json": sidecar, "b.png": png("blue")})
    listed = Listed.of(tar)
    assert listed.indexed == ["b.png"]
    assert "'a.json' in" in listed.failed["a.png"]


def test_sidecars_with_odd_values_are_read(tmp_path):
    values = '{"a": NaN, "b": 1e999, "c": "\\ud800", "d": "ü"}'.encode("utf-16")
    tar = write_tar(
        tmp_path / "a.tar", {"a.png": b"x", "a.json": values, "a.txt": "é\0".encode("utf-16"), "a.cls": "9" * 5000}
    )
    sidecar = read_sidecar(f"tar:{tar}#a.png")
    assert sidecar.caption == "é"
    assert sidecar.metadata == {"b": "inf", "c": "\ufffd", "d": "ü"}
