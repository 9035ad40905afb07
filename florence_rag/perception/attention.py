"""From what a token reads of image tokens to a grid over the picture, and to the region around its peak."""

from __future__ import annotations

import math

import numpy as np

from florence_rag.types import Box

SHARE = 0.25
"""Of the largest weight: what a cell beside the peak must have to belong to it."""
MARGIN = 0.5
"""In cells, on each side: a token saw more than its cell."""


def to_grid(weights: np.ndarray) -> np.ndarray:
    """(N,) weights of image tokens, row by row, perhaps after one for the whole picture -> (G, G) that sums to 1."""
    side = math.isqrt(len(weights))
    cells = weights[len(weights) - side * side :]
    return (cells / max(float(cells.sum()), 1e-12)).reshape(side, side).astype(np.float32)


def region_around_peak(grid: np.ndarray, view: Box = (0.0, 0.0, 1.0, 1.0)) -> Box:
    """The cells around the largest that are not much smaller and touch each other, with a margin, as a box.

    view: the part of the picture that the grid covers; the box is in [0, 1] of the picture.
    """
    rows, columns = zip(*_connected(grid >= SHARE * grid.max(), _peak(grid)), strict=True)
    (top, bottom), (left, right) = _span(rows, grid.shape[0]), _span(columns, grid.shape[1])
    width, height = view[2] - view[0], view[3] - view[1]
    edges = (view[0] + left * width, view[1] + top * height, view[0] + right * width, view[1] + bottom * height)
    return tuple(round(min(max(edge, 0.0), 1.0), 4) for edge in edges)  # type: ignore[return-value]


def _peak(grid: np.ndarray) -> tuple[int, int]:
    row, column = np.unravel_index(int(grid.argmax()), grid.shape)
    return int(row), int(column)


def _connected(marked: np.ndarray, start: tuple[int, int]) -> set[tuple[int, int]]:
    """The marked cells that can be reached from start, sideways, up and down."""
    found, pending = {start}, [start]
    while pending:
        row, column = pending.pop()
        for cell in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            inside = 0 <= cell[0] < marked.shape[0] and 0 <= cell[1] < marked.shape[1]
            if inside and marked[cell] and cell not in found:
                found.add(cell)
                pending.append(cell)
    return found


def _span(cells: tuple[int, ...], count: int) -> tuple[float, float]:
    """Of one axis, with the margin, in [0, 1]."""
    return max(0.0, (min(cells) - MARGIN) / count), min(1.0, (max(cells) + 1 + MARGIN) / count)
