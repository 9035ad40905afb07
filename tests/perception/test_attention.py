import numpy as np
import pytest

from florence_rag.perception.attention import region_around_peak, to_grid


def test_tokens_become_a_grid_that_sums_to_one():
    grid = to_grid(np.arange(9, dtype=np.float32))
    assert grid.shape == (3, 3)
    assert grid.sum() == pytest.approx(1)
    assert grid[2, 2] == grid.max()


def test_a_token_for_the_whole_picture_is_left_out():
    weights = np.array([100.0, 1.0, 2.0, 3.0, 4.0])
    assert np.allclose(to_grid(weights), [[0.1, 0.2], [0.3, 0.4]])


def test_the_region_is_what_touches_the_peak():
    grid = np.zeros((8, 8), dtype=np.float32)
    grid[2, 3], grid[2, 4], grid[3, 4] = 1.0, 0.6, 0.3
    grid[2, 5] = 0.2  # too little
    grid[7, 0] = 0.9  # apart
    assert region_around_peak(grid) == pytest.approx((2.5 / 8, 1.5 / 8, 5.5 / 8, 4.5 / 8))


def test_a_flat_map_is_the_whole_picture():
    assert region_around_peak(np.full((7, 7), 1 / 49, dtype=np.float32)) == (0.0, 0.0, 1.0, 1.0)


def test_a_map_of_the_middle_lies_in_the_middle():
    grid = np.zeros((4, 4), dtype=np.float32)
    grid[:, 0] = 1.0
    left, top, right, bottom = region_around_peak(grid, view=(0.25, 0.0, 0.75, 1.0))
    assert (left, top, bottom) == (0.25, 0.0, 1.0)
    assert right == pytest.approx(0.25 + 0.5 * 1.5 / 4)
