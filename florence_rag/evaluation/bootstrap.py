"""How sure a figure is: percentiles of what it would have been on data sets drawn from this one (bootstrap).

What belongs to one picture is drawn together, as its captions and its questions are not independent of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence

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
    unit = _units(range(len(values)) if together is None else together)
    sums, counts = np.bincount(unit, values), np.bincount(unit)

    def mean(drawn: np.ndarray) -> float:
        return float(sums[drawn].sum() / counts[drawn].sum())

    return interval_of(mean, len(sums), resamples=resamples, level=level)


def median_interval(values: np.ndarray, together: Sequence[Hashable]) -> tuple[float, float]:
    """Of the median of the values, (N,)."""
    order = np.argsort(values)
    unit, ranked = _units(together)[order], values[order]

    def median(drawn: np.ndarray) -> float:
        return float(np.median(np.repeat(ranked, np.bincount(drawn, minlength=unit.max() + 1)[unit])))

    return interval_of(median, int(unit.max()) + 1)


def _units(together: Iterable[Hashable]) -> np.ndarray:
    """(N,) the number of what each belongs to."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in together])
