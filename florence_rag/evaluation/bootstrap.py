"""How sure a figure is: percentiles of what it would have been on data sets drawn from this one (bootstrap).

What belongs to one picture is drawn together, as its captions and its questions are not independent of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np

RESAMPLES = 1000
LEVEL = 0.95


def interval_of(
    figure: Callable[[np.ndarray], float], units: int, *, resamples: int = RESAMPLES, level: float = LEVEL
) -> tuple[float, float]:
    """From where to where the figure goes. figure: of the units with these numbers, (units,), some more than once."""
    rng = np.random.default_rng(0)
    drawn = [figure(rng.integers(units, size=units)) for _ in range(resamples)]
    low, high = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


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
