import pytest
from PIL import Image

from florence_rag.chunking.formats import HEAD_BYTES, brands, describe_format
from tests.chunking.samples import encode, make_pdf, shots, write_video

DOT = Image.new("RGB", (64, 64), "red")


@pytest.mark.parametrize(
    ("form", "name"),
    [
        ("JPEG", "a JPEG image"),
        ("PNG", "a PNG image"),
        ("WEBP", "a WebP image"),
        ("GIF", "a GIF image"),
        ("BMP", "a BMP image"),
        ("TIFF", "a TIFF image"),
        ("AVIF", "an AVIF image"),
        ("HEIF", "a HEIC image"),
    ],
)
def test_images_are_recognized_by_their_first_bytes(form, name):
    assert describe_format(encode(DOT, form)[:HEAD_BYTES]) == name


@pytest.mark.parametrize(
    ("suffix", "codec", "name"),
    [
        (".mp4", "libx264", "an MP4 or MOV video"),
        (".webm", "libvpx-vp9", "a Matroska or WebM video"),
        (".avi", "mpeg4", "an AVI video"),
        (".flv", "flv", "an FLV video"),
        (".wmv", "wmv2", "a WMV video"),
        (".vob", "mpeg2video", "an MPEG video"),
    ],
)
def test_videos_are_recognized_by_their_first_bytes(tmp_path, suffix, codec, name):
    video = write_video(tmp_path / f"a{suffix}", shots(0.3), codec=codec)
    assert describe_format(video.read_bytes()[:HEAD_BYTES]) == name


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (make_pdf(["x"]), "a PDF document"),
        (b"\xef\xbb\xbf  <!DOCTYPE HTML><p>", "an HTML page"),
        (b"<svg xmlns=''>", "an SVG drawing"),
        (b"<?xml version='1.0'?>\n<svg>", "an SVG drawing"),
        (b"<?xml version='1.0'?>\n<rss>", "an XML document"),
        (b"Dear all,\r\n", "text"),
        ("Grüße".encode("latin-1"), "text"),
        (b"\0" * 64, "a blank file: only zero bytes"),
        (b"\x01\x02\x03\x04" * 8, "unknown binary data"),
        (b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer: run 'git lfs pull'"),
    ],
)
def test_other_files_are_recognized_too(head, name):
    assert describe_format(head[:HEAD_BYTES]) == name


def test_brands_of_a_box_that_claims_to_be_longer_than_the_file():
    assert brands(b"\xff\xff\xff\xffftypheic\0\0\0\0mif1he") == {b"heic", b"mif1"}
    assert brands(b"no box at all") == frozenset()
