import numpy as np
import pillow_heif
import pytest
import tifffile
from PIL import Image

from florence_rag.chunking import ChunkingConfig, chunk_or_skip, read_frames
from florence_rag.chunking.image_files import chunk_source
from florence_rag.errors import MediaError
from florence_rag.types import Locator, Skipped
from tests.chunking.samples import scene, source

PAGES = [scene(seed, 800, 600) for seed in range(3)]
CONFIG = ChunkingConfig()


def write_pages(path, damaged=()):
    with tifffile.TiffWriter(path) as writer:
        for page in PAGES:
            writer.write(page, photometric="rgb", compression="deflate", metadata=None)
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        places = [(tiff.pages[i].dataoffsets[0], tiff.pages[i].databytecounts[0]) for i in damaged]
    for start, length in places:
        data[start : start + length] = b"\xff" * length
    path.write_bytes(data)
    return source(path, "image")


def test_each_page_of_a_scan_is_a_chunk_that_is_read_again(tmp_path):
    file = write_pages(tmp_path / "scan.tif")
    chunks = list(chunk_source(file, CONFIG))
    assert [(chunk.kind, chunk.locator) for chunk in chunks] == [("page", Locator(page=n)) for n in (1, 2, 3)]
    assert chunks[0].metadata == {"pages": 3, "width": 800, "height": 600}
    assert len({chunk.id for chunk in chunks}) == 3
    for chunk, page in zip(chunks, PAGES, strict=True):
        (again,) = read_frames(file.uri, chunk.kind, chunk.locator, chunk.metadata)
        assert np.array_equal(chunk.frames[0], page) and np.array_equal(again, page)
    with pytest.raises(MediaError, match="has 3 pages, no page 4"):
        read_frames(file.uri, "page", Locator(page=4), {})


def test_a_damaged_page_is_skipped_and_the_others_are_read(tmp_path):
    file = write_pages(tmp_path / "scan.tif", damaged=[1])
    first, skipped, last = chunk_or_skip(file)
    assert (first.locator.page, last.locator.page) == (1, 3)
    assert skipped == Skipped(file.uri, "damaged page", Locator(page=2))


def test_a_scan_without_a_readable_page_fails(tmp_path):
    with pytest.raises(MediaError, match="has no page that can be read"):
        list(chunk_or_skip(write_pages(tmp_path / "scan.tif", damaged=[0, 1, 2])))


def test_a_scan_of_no_pages_fails(tmp_path):
    (tmp_path / "scan.tif").write_bytes(b"II*\0" + bytes(12))
    with pytest.raises(MediaError, match=r"scan\.tif'"):
        list(chunk_or_skip(source(tmp_path / "scan.tif", "image")))


def test_pages_beyond_the_limit_are_reported(tmp_path, monkeypatch):
    monkeypatch.setattr("florence_rag.chunking.tiff.MAX_PAGES", 2)
    monkeypatch.setattr("florence_rag.chunking.image_files.MAX_PAGES", 2)
    file = write_pages(tmp_path / "scan.tif")
    first, second, skipped = chunk_or_skip(file)
    assert (first.kind, second.kind) == ("page", "page")
    assert skipped == Skipped(file.uri, "pages after 2", Locator(page=3))


def test_one_page_is_an_image(tmp_path):
    Image.fromarray(PAGES[0]).save(tmp_path / "one.tif")
    (chunk,) = chunk_source(source(tmp_path / "one.tif", "image"), CONFIG)
    assert (chunk.kind, chunk.locator) == ("image", Locator())


@pytest.mark.parametrize(("images", "kinds"), [(1, ["image"]), (2, ["image"]), (3, ["page"] * 3)])
def test_several_images_of_a_heic_file_are_pages_unless_there_are_two_views(tmp_path, images, kinds):
    heic = pillow_heif.from_pillow(Image.fromarray(PAGES[0]))
    for page in PAGES[1:images]:
        heic.add_from_pillow(Image.fromarray(page))
    heic.save(tmp_path / "burst.heic")
    chunks = list(chunk_source(source(tmp_path / "burst.heic", "image"), CONFIG))
    assert [chunk.kind for chunk in chunks] == kinds
    for chunk, page in zip(chunks, PAGES, strict=False):
        (again,) = read_frames(chunk.source.uri, chunk.kind, chunk.locator, chunk.metadata)
        assert np.abs(chunk.frames[0].astype(int) - page).mean() < 8 and np.array_equal(again, chunk.frames[0])


def test_the_second_view_of_a_stereo_photograph_is_no_page(tmp_path):
    first, second = map(Image.fromarray, PAGES[:2])
    first.save(tmp_path / "stereo.mpo", "MPO", save_all=True, append_images=[second])
    (chunk,) = chunk_source(source(tmp_path / "stereo.mpo", "image"), CONFIG)
    assert chunk.kind == "image" and np.abs(chunk.frames[0].astype(int) - PAGES[0]).mean() < 8
