import io

import numpy as np
import pytest
from PIL import Image

from florence_rag.errors import InputError
from florence_rag.testing import color_frame
from florence_rag.viz.jpeg import data_uri, from_data_uri, outline, scaled, thumbnail


@pytest.mark.parametrize("pixels", [1, 100, 9_999, 10_000, 10_001])
def test_a_picture_is_scaled_down_to_its_pixels_and_never_up(pixels):
    picture = scaled(Image.new("RGB", (200, 50)), pixels)
    assert 0 < picture.width * picture.height <= min(pixels, 10_000)


def test_the_shape_is_kept():
    picture = scaled(Image.new("RGB", (400, 100)), 10_000)
    assert picture.size == (200, 50)


def test_a_data_uri_is_read_back():
    pixels = np.asarray(Image.open(io.BytesIO(from_data_uri(data_uri(color_frame("red"))))))
    assert np.abs(pixels.astype(int) - color_frame("red")).max() < 8


@pytest.mark.parametrize("uri", ["", "data:image/svg+xml;base64,AAAA", "http://a/b.jpg", "data:image/jpeg;base64,<"])
def test_only_our_own_data_uris_are_read(uri):
    with pytest.raises(InputError, match="is not a JPEG"):
        from_data_uri(uri)


@pytest.mark.parametrize("box", [(0, 0, 1, 1), (0.5, 0.5, 0.5, 0.5), (0.9, 0.9, 0.1, 0.1), (0, 0, 0, 0)])
def test_any_box_can_be_drawn(box):
    outline(Image.new("RGB", (20, 20)), box)


def test_a_thumbnail_is_small():
    assert Image.open(io.BytesIO(thumbnail(color_frame("red", size_px=900), side_px=100))).size == (100, 100)
