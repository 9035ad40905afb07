import base64
import io

import numpy as np
import pytest
from PIL import Image

from florence_rag.jpeg import jpeg_uri, to_jpeg


@pytest.mark.parametrize("mode", ["RGBA", "L", "RGB"])
def test_any_image_becomes_a_jpeg_in_rgb(mode):
    image = Image.open(io.BytesIO(to_jpeg(Image.new(mode, (40, 20)))))
    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (40, 20))


def test_only_larger_images_are_scaled():
    frame = np.full((30, 60, 3), 200, dtype=np.uint8)
    sizes = [Image.open(io.BytesIO(to_jpeg(frame, max_side_px=side))).size for side in (20, 60, 100)]
    assert sizes == [(20, 10), (60, 30), (60, 30)]


def test_the_image_that_is_given_is_not_changed():
    image = Image.new("RGB", (40, 20))
    to_jpeg(image, max_side_px=10)
    assert image.size == (40, 20)


def test_a_uri_holds_the_file():
    head, _, body = jpeg_uri(b"file").partition(",")
    assert head == "data:image/jpeg;base64" and base64.b64decode(body) == b"file"
