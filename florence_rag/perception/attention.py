"""Turns attention weights of image tokens into a grid over the image, and into the region around its peak."""

from __future__ import annotations

import math

import numpy as np

from florence_rag.types import Box

SHARE = 0.25
"""The share of the largest weight that a cell next to the peak needs to belong to the region."""
MARGIN = 0.5
"""The margin on each side in cells, since the receptive field of a token is larger than its cell."""


def to_grid(weights: np.ndarray) -> np.ndarray:
    """Arrange (N,) weights of image tokens, row by row after an optional class token, as (G, G) with the sum 1."""
    side = math.isqrt(len(weights))
    cells = weights[len(weights) - side * side :]
    return (cells / max(float(cells.sum()), 1e-12)).reshape(side, side).astype(np.float32)


def region_around_peak(grid: np.ndarray, view: Box = (0.0, 0.0, 1.0, 1.0)) -> Box:
    """Return a box in [0, 1] of the image around the connected cells whose weights are close to the largest.

    `view` is the part of the image that the grid (G, G) covers.
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
    """Return the marked cells that are connected with the start horizontally or vertically."""
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
    """Return the extent of cells along one axis, with the margin, in [0, 1]."""
    return max(0.0, (min(cells) - MARGIN) / count), min(1.0, (max(cells) + 1 + MARGIN) / count)
