from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from florence_rag.datasets.images import ImageExample
from florence_rag.errors import InputError
from florence_rag.evaluation.image_reading import embed_images, read_images, read_items
from florence_rag.testing import ColorEmbedder, color_frame
from florence_rag.types import Failure


def read_digit(text):
    if not text.isdigit():
        raise InputError("no digit")
    return int(text)


def test_unreadable_items_are_reported_and_skipped():
    failed = []
    assert list(read_items("1x2", "digits", read_digit, failed, str)) == [("1", 1), ("2", 2)]
    assert failed == [Failure("x", "no digit")]


@pytest.mark.parametrize(("items", "reason"), [("xy", ": x: no digit"), ("", "$")])
def test_nothing_readable_is_an_error(items, reason):
    with pytest.raises(InputError, match=f"none of the digits can be read{reason}"):
        list(read_items(items, "digits", read_digit, [], str))


def test_images_are_read_from_any_path(tmp_path):
    Image.fromarray(color_frame("red")).save(tmp_path / "1.png")
    failed = []
    ((number, frame),) = read_images([1, 2], failed, lambda number: tmp_path / f"{number}.png")
    assert number == 1 and np.array_equal(frame, color_frame("red"))
    assert [failure.source for failure in failed] == [str(tmp_path / "2.png")]


def test_more_images_than_a_batch_are_embedded_in_order(tmp_path):
    colors = ["red", "blue"] * 20
    for number, color in enumerate(colors):
        Image.fromarray(color_frame(color)).save(tmp_path / f"{number}.png")
    examples = [ImageExample(tmp_path / f"{number}.png") for number in range(len(colors))]
    examples.insert(1, ImageExample(Path("gone.png")))
    usable, vectors = embed_images(examples, ColorEmbedder(), [])
    assert usable == [*examples[:1], *examples[2:]]
    np.testing.assert_allclose(vectors, ColorEmbedder().embed_texts(colors))
