import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from florence_rag.embedding.base import EmbedderCapabilities
from florence_rag.embedding.region_view import check_box, region_view
from florence_rag.errors import InputError
from florence_rag.testing import ColorEmbedder, color_frame

edge = st.floats(0, 1, allow_nan=False)


@given(st.tuples(edge, edge, edge, edge), st.integers(1, 40), st.integers(1, 40), st.sampled_from(["crop", "masked"]))
def test_any_region_of_any_image_has_a_view(box, width, height, view):
    frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    embedder = ColorEmbedder()
    embedder.capabilities = EmbedderCapabilities(region_view=view)
    region = region_view(
        embedder, frame, (min(box[0], box[2]), min(box[1], box[3]), max(box[0], box[2]), max(box[1], box[3]))
    )
    assert region.size and region.dtype == np.uint8
    assert view == "crop" or region.shape == frame.shape


def test_in_place_the_rest_has_the_mean_color():
    embedder = ColorEmbedder()
    embedder.capabilities = EmbedderCapabilities(region_view="masked")
    frame = color_frame("black", "black", "black", "white", size_px=80)
    region = region_view(embedder, frame, (0.75, 0.0, 1.0, 1.0))
    assert (region[:, 62:] == frame[:, 62:]).all()
    assert (region[:, :57] == 64).all()


@pytest.mark.parametrize(
    "box", [(0.5, 0, 0.5, 1), (0, 0, 1, 1.2), (-0.1, 0, 1, 1), (0, 0, 1), "abcd", (0, float("nan"), 1, 1)]
)
def test_a_malformed_box_is_an_error(box):
    with pytest.raises(InputError, match="box is "):
        check_box(box)
