import numpy as np
import pytest

from florence_rag.perception.base import TextRegion
from florence_rag.perception.ocr_tiles import OVERLAP_PX, TILE_PX, read_tiles, tiled_scale

LINE_PX, LETTER_PX = 40, 20


def page(width, height, texts):
    """Return an image, and a reader that reads in a tile of it the letters whose columns lie in the tile.

    `texts` maps (left, top) to a line. A line that is cut lengthwise is misread as question marks.
    """
    image = np.zeros((height, width, 3), np.uint8)

    def read(tile):
        start = tile.__array_interface__["data"][0] - image.__array_interface__["data"][0]
        top, left = divmod(start // 3, width)
        tall, wide = tile.shape[:2]
        assert max(tall, wide) <= TILE_PX
        return [line for place, text in texts.items() if (line := view(place, text, (left, top, wide, tall)))]

    return image, read


def view(place, text, tile):
    (x, y), (left, top, wide, tall) = place, tile
    seen = [i for i in range(len(text)) if left <= x + i * LETTER_PX <= left + wide - LETTER_PX]
    first, last = max(y, top), min(y + LINE_PX, top + tall)
    if not seen or last - first < LINE_PX / 2:
        return None
    shown = text[seen[0] : seen[-1] + 1] if last - first == LINE_PX else "?" * len(seen)
    edges = (x + seen[0] * LETTER_PX - left, first - top, x + (seen[-1] + 1) * LETTER_PX - left, last - top)
    return TextRegion(shown, tuple(e / side for e, side in zip(edges, (wide, tall) * 2, strict=True)), 0.9)


def texts_of(width, height, texts):
    image, read = page(width, height, texts)
    return [line.text for line in read_tiles(image, 1.0, read)]


def test_every_line_of_a_long_image_is_read_once():
    texts = {(50, top): f"message {top}" for top in range(0, 12_000 - LINE_PX, 47)}
    assert sorted(texts_of(1080, 12_000, texts)) == sorted(texts.values())


def test_a_line_that_spans_several_tiles_is_joined():
    long = " ".join(f"word {i} harbor" for i in range(25))  # equal words come again and again
    assert texts_of(len(long) * LETTER_PX + 100, 400, {(50, 100): long, (50, 200): "short"}) == [long, "short"]


def test_columns_side_by_side_are_not_joined():
    texts = {(20, 100): "left column", (800, 100): "middle column", (1500, 100): "right column"}
    assert sorted(texts_of(2000, 400, texts)) == sorted(texts.values())


def test_boxes_are_fractions_of_the_whole_image():
    image, read = page(2400, 4800, {(1200, 2400): "ab"})
    (line,) = read_tiles(image, 1.0, read)
    assert line.box == pytest.approx((0.5, 0.5, 0.5 + 40 / 2400, 0.5 + 40 / 4800))


def test_an_image_is_scaled_before_it_is_cut():
    shapes = []
    read_tiles(np.zeros((6000, 4000, 3), np.uint8), 0.25, lambda tile: shapes.append(tile.shape) or [])
    assert len(shapes) == 2 and all(width == 1000 for _, width, _ in shapes)
    assert sum(height for height, _, _ in shapes) == pytest.approx(1500 + OVERLAP_PX, abs=2)


def lines(count, height):
    return [TextRegion("word", (0.1, i / count, 0.4, i / count + height), 0.3) for i in range(count)]


@pytest.mark.parametrize(
    ("size", "found", "scale"),
    [
        ((1200, 1600), lines(40, 0.01), None),  # no larger than the overview
        ((3000, 4000), [], None),  # a photograph without text
        ((3000, 4000), lines(3, 0.005), None),  # or with some distant signs
        ((3000, 4000), lines(40, 0.02), None),  # a document with large letters: 60 px of 3000
        ((7000, 5000), lines(90, 0.006), 24 / 42),  # small print: 42 px of 7000
        ((7000, 5000), lines(90, 0.002), 1.0),
        ((12_000, 1080), [], 1.0),  # a long screenshot, in which the overview shows nothing
        ((4000, 12_000 + 1), [], 0.5),  # a panorama
    ],
)
def test_images_are_read_in_tiles_if_their_overview_is_too_small(size, found, scale):
    assert tiled_scale(size, 1600, found) == (scale if scale is None else pytest.approx(scale))
