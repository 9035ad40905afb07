import numpy as np

from florence_rag.testing import color_frame
from florence_rag.viz import heat_map


def test_it_is_warm_where_the_weight_is():
    weights = np.zeros((4, 4), dtype=np.float32)
    weights[3, 0] = 1.0
    red = np.asarray(heat_map(color_frame("blue", size_px=80), weights))[..., 0].astype(int)
    assert red[70, 10] > 100 > 20 > red[10, 70]


def test_outside_of_what_was_seen_nothing_changes():
    frame = color_frame("blue", size_px=80)
    warm = np.asarray(heat_map(frame, np.ones((2, 2), dtype=np.float32), view=(0.25, 0.0, 0.75, 1.0)))
    assert (warm[:, :20] == frame[:, :20]).all() and (warm[:, 60:] == frame[:, 60:]).all()
    assert (warm[:, 25:55] != frame[:, 25:55]).any(axis=-1).all()
    assert frame.tobytes() == color_frame("blue", size_px=80).tobytes()
