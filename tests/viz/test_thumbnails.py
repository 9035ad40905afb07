import io

import numpy as np
import pytest
from PIL import Image

from florence_rag.errors import InputError
from florence_rag.testing import color_frame
from florence_rag.viz.thumbnails import data_uri, from_data_uri, thumbnail


def test_a_data_uri_is_read_back():
    pixels = np.asarray(Image.open(io.BytesIO(from_data_uri(data_uri(color_frame("red"))))))
    assert np.abs(pixels.astype(int) - color_frame("red")).max() < 8


@pytest.mark.parametrize("uri", ["", "data:image/svg+xml;base64,AAAA", "http://a/b.jpg", "data:image/jpeg;base64,<"])
def test_only_our_own_data_uris_are_read(uri):
    with pytest.raises(InputError, match="is not a JPEG"):
        from_data_uri(uri)


def test_a_thumbnail_is_small():
    assert Image.open(io.BytesIO(thumbnail(color_frame("red", size_px=900), side_px=100))).size == (100, 100)
