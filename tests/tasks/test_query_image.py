import numpy as np
import pytest
from PIL import Image

from florence_rag.errors import InputError, MediaError
from florence_rag.tasks.query_image import read_query_image
from florence_rag.testing import ColorEmbedder, color_frame

EMBEDDER = ColorEmbedder()


def test_without_an_image_there_is_no_frame():
    assert read_query_image(EMBEDDER, None) is None


def test_files_and_pixels_are_read(tmp_path):
    Image.fromarray(color_frame("red")).save(tmp_path / "red.png")
    for image in (tmp_path / "red.png", color_frame("red")):
        assert np.array_equal(read_query_image(EMBEDDER, image), color_frame("red"))


def test_a_box_shows_the_embedder_a_part_of_the_image():
    right_half = read_query_image(EMBEDDER, color_frame("red", "blue"), (0.5, 0, 1, 1))
    similarity = EMBEDDER.embed_images([right_half]) @ EMBEDDER.embed_texts(["blue", "red"]).T
    assert similarity[0, 0] > similarity[0, 1]


@pytest.mark.parametrize("box", [(0.5, 0, 0.5, 1), (0, 0, 2, 1), (0, 1), "left"])
def test_a_wrong_box_is_refused(box):
    with pytest.raises(InputError, match="box is"):
        read_query_image(EMBEDDER, color_frame("red"), box)


def test_a_box_needs_an_image():
    with pytest.raises(InputError, match="give the image, too"):
        read_query_image(EMBEDDER, None, (0, 0, 1, 1))


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(MediaError):
        read_query_image(EMBEDDER, tmp_path / "missing.png")
