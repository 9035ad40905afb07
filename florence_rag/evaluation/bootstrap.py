"""How sure a figure is: percentiles of what it would have been on data sets drawn from this one (bootstrap).

What belongs to one picture is drawn together, as its captions and its questions are not independent of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np

RESAMPLES = 1000
LEVEL = 0.95


def intervals_of(
    figures: Callable[[np.ndarray], Sequence[float]], units: int, *, resamples: int = RESAMPLES, level: float = LEVEL
) -> list[tuple[float, float]]:
    """From where to where each figure goes; those that are no number are left out.

    figures: of the units with these numbers, (units,), some of which are there more than once.
    """
    rng = np.random.default_rng(0)
    drawn = [figures(rng.integers(units, size=units)) for _ in range(resamples)]
    low, high = np.nanquantile(np.asarray(drawn, np.float64), [(1 - level) / 2, (1 + level) / 2], axis=0)
    return list(zip(low.tolist(), high.tolist(), strict=True))


def interval_of(
    figure: Callable[[np.ndarray], float], units: int, *, resamples: int = RESAMPLES, level: float = LEVEL
) -> tuple[float, float]:
    """The same of one figure."""
    return intervals_of(lambda drawn: [figure(drawn)], units, resamples=resamples, level=level)[0]


def interval(
    values: np.ndarray,
    together: Sequence[Hashable] | None = None,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> tuple[float, float]:
    """Of the mean of the values, (N,). together: of each, what it belongs to; by default all stand alone."""
    keys = range(len(values)) if together is None else together
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    unit = [numbers[key] for key in keys]
    sums, counts = np.bincount(unit, values), np.bincount(unit)

    def mean(drawn: np.ndarray) -> float:
        return float(sums[drawn].sum() / counts[drawn].sum())

    return interval_of(mean, len(sums), resamples=resamples, level=level)
