import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from florence_rag.testing import color_frame
from florence_rag.types import Citation, Hit, Locator
from florence_rag.viz import heat_map, thumbnail_of
from florence_rag.viz.contact_sheet import draw_sheet, hits_to_row
from florence_rag.viz.drawing import COLORS, LabeledBox, draw_boxes, outline, polygons_of, scaled

BOX = (0.2, 0.2, 0.8, 0.8)
DIAMOND = [[0.5, 0.2], [0.8, 0.5], [0.5, 0.8], [0.2, 0.5]]


def rgb(color: str) -> tuple[int, int, int]:
    return tuple(bytes.fromhex(color[1:]))


def test_each_label_has_its_color_and_the_frame_stays_as_it_is():
    frame = color_frame("white", size_px=200)
    things = [
        LabeledBox("a", (0.1, 0.5, 0.3, 0.9)),
        LabeledBox("b", (0.5, 0.5, 0.7, 0.9)),
        LabeledBox("a", (0.8, 0.5, 0.9, 0.9)),
    ]
    drawn = draw_boxes(frame, things)
    assert drawn.size == (200, 200) and (frame == 255).all()
    first, second, third = (drawn.getpixel(place) for place in ((20, 150), (100, 150), (160, 150)))
    assert (first, second, third) == (rgb(COLORS[0]), rgb(COLORS[1]), rgb(COLORS[0]))


@pytest.mark.parametrize("box", [(0.0, 0.0, 1.0, 1.0), (0.9, 0.0, 1.0, 0.1), (0.5, 0.5, 0.5, 0.5)])
def test_labels_at_the_edges_and_boxes_without_area(box):
    drawn = draw_boxes(
        color_frame("white", size_px=64), [LabeledBox("a very long label indeed", box, "99%"), LabeledBox("", box)]
    )
    assert isinstance(drawn, Image.Image)
    assert (np.asarray(drawn) != 255).any()


def test_more_labels_than_colors():
    things = [LabeledBox(str(i), (0.1, 0.1, 0.2, 0.2)) for i in range(30)]
    assert draw_boxes(color_frame("white"), things).size == (48, 48)


def test_outlines_are_drawn_instead_of_boxes():
    diamond = ((0.5, 0.2), (0.8, 0.5), (0.5, 0.8), (0.2, 0.5))
    drawn = draw_boxes(color_frame("white", size_px=200), [LabeledBox("", (0.2, 0.2, 0.8, 0.8), polygons=(diamond,))])
    assert drawn.getpixel((130, 69)) == drawn.getpixel((70, 129)) == rgb(COLORS[0])
    assert drawn.getpixel((42, 42)) == (255, 255, 255)


@pytest.mark.parametrize("box", [(0, 0, 1, 1), (0.5, 0.5, 0.5, 0.5), (0.9, 0.9, 0.1, 0.1), (0, 0, 0, 0)])
def test_any_box_can_be_drawn(box):
    outline(Image.new("RGB", (20, 20)), box)


def hit(metadata, box=BOX):
    return Hit("1", "image", "/a.png", Locator(box=box), 1.0, metadata=metadata)


def test_a_region_has_the_outlines_of_its_detector():
    assert polygons_of(hit({"polygons": [DIAMOND]})) == [DIAMOND]
    assert polygons_of(hit({"polygons": [DIAMOND]}, box=None)) == polygons_of(hit({})) == ()


json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=12,
)


@given(json)
def test_metadata_named_polygons_may_be_anything(value):
    for polygon in polygons_of(hit({"polygons": value})):
        assert len(polygon) >= 3 and all(0 <= x <= 1 for point in polygon for x in point)


class FrameProvider:
    def __init__(self, hit):
        self.hit = hit

    def get(self, ids):
        return [self.hit]

    def frames(self, hit):
        return (color_frame("white", size_px=200),)


@pytest.mark.parametrize("found", [hit, lambda metadata: Citation("1", "image", "/a.png", Locator(box=BOX))])
def test_thumbnails_show_the_outline_and_not_the_box(found):
    def drawn(metadata):
        with Image.open(io.BytesIO(thumbnail_of(FrameProvider(hit(metadata)), found(metadata)))) as image:
            return np.asarray(image).min(axis=-1) < 200

    outlined, boxed = drawn({"polygons": [DIAMOND]}), drawn({})
    assert outlined[70, 130] and not outlined[41:60, 41:60].any()
    assert boxed[41, 60] and not boxed[70, 130]


def test_contact_sheets_show_the_outline():
    sheets = [
        np.asarray(draw_sheet([hits_to_row("q", [found], FrameProvider(found).frames)]))
        for found in (hit({"polygons": [DIAMOND]}), hit({}))
    ]
    assert sheets[0].shape == sheets[1].shape and (sheets[0] != sheets[1]).any()


def test_a_heat_map_is_warm_where_the_weight_is_large():
    weights = np.zeros((4, 4), dtype=np.float32)
    weights[3, 0] = 1.0
    red = np.asarray(heat_map(color_frame("blue", size_px=80), weights))[..., 0].astype(int)
    assert red[70, 10] > 100 > 20 > red[10, 70]


def test_a_heat_map_does_not_change_pixels_outside_of_the_view():
    frame = color_frame("blue", size_px=80)
    warm = np.asarray(heat_map(frame, np.ones((2, 2), dtype=np.float32), view=(0.25, 0.0, 0.75, 1.0)))
    assert (warm[:, :20] == frame[:, :20]).all() and (warm[:, 60:] == frame[:, 60:]).all()
    assert (warm[:, 25:55] != frame[:, 25:55]).any(axis=-1).all()
    assert frame.tobytes() == color_frame("blue", size_px=80).tobytes()


@pytest.mark.parametrize("pixels", [1, 100, 9_999, 10_000, 10_001])
def test_an_image_is_scaled_down_and_never_up(pixels):
    image = scaled(Image.new("RGB", (200, 50)), pixels)
    assert 0 < image.width * image.height <= min(pixels, 10_000)


def test_scaling_keeps_the_aspect_ratio():
    image = scaled(Image.new("RGB", (400, 100)), 10_000)
    assert image.size == (200, 50)


def test_labels_do_not_cover_each_other():
    box, frame = (0.1, 0.1, 0.9, 0.9), np.full((200, 300, 3), 255, np.uint8)
    labels = ["car", "車", "a long label of a thing"]
    apart = sum(label_pixels(draw_boxes(frame, [LabeledBox(label, box)])) for label in labels)
    together = label_pixels(draw_boxes(frame, [LabeledBox(label, box) for label in labels]))
    outline_of_box = label_pixels(draw_boxes(frame, [LabeledBox("", box)]))
    assert together >= apart - 3 * outline_of_box


def label_pixels(image):
    return int((np.asarray(image) != 255).any(axis=-1).sum())
