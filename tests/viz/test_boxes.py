import numpy as np
import pytest
from PIL import Image

from florence_rag.testing import color_frame
from florence_rag.viz.boxes import COLORS, LabeledBox, draw_boxes


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


def test_outlines_are_drawn_in_place_of_boxes():
    diamond = ((0.5, 0.2), (0.8, 0.5), (0.5, 0.8), (0.2, 0.5))
    drawn = draw_boxes(color_frame("white", size_px=200), [LabeledBox("", (0.2, 0.2, 0.8, 0.8), polygons=(diamond,))])
    assert drawn.getpixel((130, 69)) == drawn.getpixel((70, 129)) == rgb(COLORS[0])
    assert drawn.getpixel((42, 42)) == (255, 255, 255)
