import numpy as np
import pytest
from PIL import Image

from florence_rag.errors import MediaError
from florence_rag.testing import COLORS, color_frame
from florence_rag.types import Hit, Locator
from florence_rag.viz.contact_sheet import CELL_SIZE, Cell, Row, draw_sheet, draw_tiles, hits_to_row


def hit(**changes) -> Hit:
    values = {"id": "0" * 32, "kind": "image", "source": "/photos/a.jpg", "locator": Locator(), "score": 0.5} | changes
    return Hit(**values)


def pixels_of(sheet: Image.Image, color: str) -> int:
    return int((np.asarray(sheet) == COLORS[color]).all(axis=-1).sum())


def test_the_sheet_shows_every_image_in_its_row():
    frames = [color_frame(color) for color in ("red", "blue", "yellow")]
    one = draw_sheet([Row("colors", [Cell(hit(), frame) for frame in frames])])
    for color in ("red", "blue", "yellow"):
        assert pixels_of(one, color) == CELL_SIZE[1] ** 2  # a square image, as high as its place
    two = draw_sheet([Row("first", [Cell(hit(), frames[0])]), Row("second", [Cell(hit(), frames[1])])])
    assert two.height > one.height
    assert two.width < one.width


def test_a_passage_is_drawn_as_text():
    words, blank = (draw_sheet([Row("", [Cell(hit(kind="text", text=text))])]) for text in ("many words here", ""))
    assert np.any(np.asarray(words) != np.asarray(blank))


def test_a_region_is_outlined():
    frame = color_frame("blue")
    box = Locator(box=(0.25, 0.25, 0.75, 0.75))
    plain, outlined = (draw_sheet([Row("", [Cell(hit(locator=locator), frame)])]) for locator in (Locator(), box))
    assert pixels_of(outlined, "blue") < pixels_of(plain, "blue")
    assert frame.tobytes() == color_frame("blue").tobytes()


@pytest.mark.parametrize("title", ["", "x" * 5000, "日本語\n[b]", "\udcff"])
def test_any_text_can_be_a_title_or_a_caption(title):
    strange = hit(source=f"/{title or 'a'}.jpg", explanation=title, ocr=title)
    assert draw_sheet([Row(title, [Cell(strange, color_frame("red"))])]).width == CELL_SIZE[0] + 40


def test_no_hits_is_a_sheet_with_a_title():
    assert draw_sheet([Row("nothing", [])]).height > 0
    assert draw_sheet([]).width > 0


def test_a_missing_file_leaves_its_cell_empty():
    def gone(hit):
        raise MediaError("gone")

    (cell,) = hits_to_row("a query", [hit()], gone).cells
    assert cell.frame is None


def test_a_clip_is_shown_by_its_middle_frame():
    frames = (color_frame("red"), color_frame("blue"))
    (cell,) = hits_to_row("a query", [hit(kind="clip")], lambda _: frames).cells
    assert cell.frame is frames[1]


def test_the_query_image_is_shown():
    row = hits_to_row("like this", [hit()], lambda _: (color_frame("red"),), query=color_frame("green"))
    assert pixels_of(draw_sheet([row]), "green") > 1000


@pytest.mark.parametrize("pixels", [20_000, 300_000, 10_000_000])
@pytest.mark.parametrize("count", [1, 5, 20])
def test_tiles_have_at_most_the_given_pixels(pixels, count):
    sheet = draw_tiles([(number, color_frame("blue")) for number in range(1, count + 1)], pixels)
    assert sheet.width * sheet.height <= pixels


def test_every_tile_shows_its_image_and_its_number():
    tiles = [(3, color_frame("red")), (7, color_frame("yellow")), (12, color_frame("blue"))]
    sheet = draw_tiles(tiles, 200_000)
    side = sheet.width // 2
    for place, color in enumerate(("red", "yellow", "blue")):
        x, y = place % 2 * side, place // 2 * side
        tile = sheet.crop((x, y, x + side, y + side))
        assert pixels_of(tile, color) > 0.7 * side**2
    other = draw_tiles([(4, color_frame("red")), *tiles[1:]], 200_000)
    assert np.any(np.asarray(sheet) != np.asarray(other))


def test_many_hits_continue_below_each_other():
    sheet = draw_sheet([Row("many", [Cell(hit(), color_frame("blue"))] * 12)])
    assert sheet.width == draw_sheet([Row("few", [Cell(hit(), color_frame("blue"))] * 5)]).width
    assert pixels_of(sheet, "blue") == 12 * CELL_SIZE[1] ** 2


def test_a_long_caption_is_wrapped_and_not_cut():
    captions = ("word " * count for count in (1, 20, 60))
    heights = [draw_sheet([Row("", [Cell(hit(caption=text), color_frame("red"))])]).height for text in captions]
    assert heights[0] < heights[1] < heights[2]


def test_the_part_that_was_searched_with_is_outlined():
    frame, box = color_frame("green"), (0.2, 0.2, 0.6, 0.6)
    rows = [hits_to_row("", [hit()], lambda _: (color_frame("red"),), frame, part) for part in (None, box)]
    whole, part = map(draw_sheet, ([rows[0]], [rows[1]]))
    assert pixels_of(part, "green") < pixels_of(whole, "green") and whole.size == part.size
    assert frame.tobytes() == color_frame("green").tobytes()
