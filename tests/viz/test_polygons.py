import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from florence_rag.testing import color_frame
from florence_rag.types import Citation, Hit, Locator
from florence_rag.viz import thumbnail_of
from florence_rag.viz.contact_sheet import draw_sheet, hits_to_row
from florence_rag.viz.polygons import polygons_of

BOX = (0.2, 0.2, 0.8, 0.8)
DIAMOND = [[0.5, 0.2], [0.8, 0.5], [0.5, 0.8], [0.2, 0.5]]


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
def test_metadata_of_that_name_may_be_anything(value):
    for outline in polygons_of(hit({"polygons": value})):
        assert len(outline) >= 3 and all(0 <= x <= 1 for point in outline for x in point)


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
        with Image.open(io.BytesIO(thumbnail_of(FrameProvider(hit(metadata)), found(metadata)))) as picture:
            return np.asarray(picture).min(axis=-1) < 200

    outlined, boxed = drawn({"polygons": [DIAMOND]}), drawn({})
    assert outlined[70, 130] and not outlined[41:60, 41:60].any()
    assert boxed[41, 60] and not boxed[70, 130]


def test_contact_sheets_show_it_too():
    sheets = [
        np.asarray(draw_sheet([hits_to_row("q", [found], FrameProvider(found).frames)]))
        for found in (hit({"polygons": [DIAMOND]}), hit({}))
    ]
    assert sheets[0].shape == sheets[1].shape and (sheets[0] != sheets[1]).any()
