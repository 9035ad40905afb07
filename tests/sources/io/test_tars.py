import tarfile

import pytest

from florence_rag.errors import InputError, MediaError
from florence_rag.sources.io import is_path, open_uri, read_sidecar
from florence_rag.sources.io.tars import read_index, stem_of
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
