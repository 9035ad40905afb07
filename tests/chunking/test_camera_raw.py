import io
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image

from florence_rag.chunking import ChunkingConfig, chunk_or_skip, read_image
from florence_rag.chunking.image_files import chunk_source, read_frames
from florence_rag.errors import InputError, MediaError
from florence_rag.sources import discover
from tests.chunking.samples import BLUE, RED, source

pytest.importorskip("rawpy")
SIZE = (800, 480)
TAGS = [
    (271, "s", 0, "Acme", True),
    (272, "s", 0, "X1", True),
    (50706, "B", 4, (1, 4, 0, 0), True),
    (50708, "s", 0, "Acme X1", True),
    (50721, "2i", 9, (1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1), True),
    (50728, "2I", 3, (1, 1, 1, 1, 1, 1), True),
    (50778, "H", 1, 21, True),
]
SENSOR_TAGS = [(33421, "H", 2, (2, 2), True), (33422, "B", 4, (0, 1, 1, 2), True), (50717, "H", 1, 65535, True)]


def write_dng(path, preview=SIZE, orientation=1):
    """Write a DNG whose sensor saw green, with a preview of red on the left and blue on the right."""
    width, height = SIZE
    sensor = np.full((height, width), 2000, np.uint16)
    sensor[0::2, 1::2] = sensor[1::2, 0::2] = 50000
    tags = [*TAGS, (274, "H", 1, orientation, True)]
    with tifffile.TiffWriter(path) as writer:
        if preview is None:
            writer.write(sensor, photometric="cfa", extratags=[*tags, *SENSOR_TAGS], metadata=None)
            return path
        image = Image.new("RGB", preview, RED)
        image.paste(BLUE, (preview[0] // 2, 0, *preview))
        options = {"compression": "jpeg", "rowsperstrip": preview[1], "subfiletype": 1, "subifds": 1}
        writer.write(np.asarray(image.convert("YCbCr")), photometric="ycbcr", extratags=tags, metadata=None, **options)
        writer.write(sensor, photometric="cfa", extratags=SENSOR_TAGS, metadata=None)
    return path


def near(pixel, color):
    return np.abs(pixel.astype(int) - color).max() < 40


def test_the_preview_of_a_camera_raw_file_is_read_with_its_camera(tmp_path):
    file = source(write_dng(tmp_path / "a.dng"), "image")
    (chunk,) = chunk_source(file, ChunkingConfig())
    assert chunk.metadata == {"width": 800, "height": 480, "camera": "Acme X1"}
    frame = chunk.frames[0]
    assert near(frame[10, 10], RED) and near(frame[10, -10], BLUE)
    assert np.array_equal(frame, read_image(file.uri))
    assert np.array_equal(frame, read_frames(file.uri, chunk.locator, chunk.metadata, ChunkingConfig())[0])


@pytest.mark.parametrize(("orientation", "red_at"), [(3, (10, -10)), (6, (10, 10)), (8, (-10, 10))])
def test_previews_are_upright(tmp_path, orientation, red_at):
    frame = read_image(write_dng(tmp_path / "a.dng", orientation=orientation))
    assert frame.shape == ((480, 800, 3) if orientation == 3 else (800, 480, 3))
    assert near(frame[red_at], RED)


@pytest.mark.parametrize("preview", [None, (160, 96)])
def test_without_a_large_preview_the_data_are_developed(tmp_path, preview):
    frame = read_image(write_dng(tmp_path / "a.dng", preview, orientation=6))
    assert frame.shape == (400, 240, 3) and frame[200, 120].argmax() == 1


def test_a_broken_raw_file_is_a_media_error(tmp_path):
    path = tmp_path / "a.nef"
    path.write_bytes(b"II*\0" + bytes(range(256)) * 40)
    with pytest.raises(MediaError, match=r"a\.nef' is not a readable camera raw file"):
        list(chunk_or_skip(source(path, "image")))


def test_raw_files_are_found_in_folders_by_their_suffix(tmp_path):
    write_dng(tmp_path / "A.DNG")
    (found,) = discover([tmp_path])
    assert (found.media, found.uri.rpartition("/")[2]) == ("image", "A.DNG")


def test_without_rawpy_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rawpy", None)
    file = source(write_dng(tmp_path / "a.dng"), "image")
    with pytest.raises(InputError, match=r"is a camera raw file: pip install 'florence-rag\[raw\]'"):
        list(chunk_source(file, ChunkingConfig()))


def test_the_bytes_of_a_raw_file_show_its_icon(tmp_path):
    data = write_dng(tmp_path / "a.dng").read_bytes()
    assert near(read_image(io.BytesIO(data))[10, 10], RED)
