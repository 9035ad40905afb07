"""Confidence intervals of metrics: percentiles over data sets that are drawn with replacement from the measured one.

The captions or questions of one image depend on each other, so they form a group that is drawn as a whole.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence

import numpy as np

RESAMPLES = 1000
LEVEL = 0.95


def bootstrap_intervals(
    metrics: Callable[[np.ndarray], Sequence[float]], count: int, *, resamples: int = RESAMPLES
) -> list[tuple[float, float]]:
    """Return the 95 % interval of each metric over resampled data sets of `count` groups.

    `metrics` receives the indices of the drawn groups, (count,), some of which are repeated. Values that are not a
    number are ignored.
    """
    rng = np.random.default_rng(0)
    drawn = [metrics(rng.integers(count, size=count)) for _ in range(resamples)]
    low, high = np.nanquantile(np.asarray(drawn, np.float64), [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return list(zip(low.tolist(), high.tolist(), strict=True))


def mean_interval(
    values: np.ndarray, groups: Sequence[Hashable] | None = None, *, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """Return the interval of the mean of values, (N,); groups: the group of each, by default one of its own."""
    group = _group_indices(range(len(values)) if groups is None else groups)
    sums, counts = np.bincount(group, values), np.bincount(group)

    def mean(drawn: np.ndarray) -> list[float]:
        return [sums[drawn].sum() / counts[drawn].sum()]

    return bootstrap_intervals(mean, len(sums), resamples=resamples)[0]


def median_interval(values: np.ndarray, groups: Sequence[Hashable]) -> tuple[float, float]:
    """Return the interval of the median of values, (N,); groups: the group of each."""
    order = np.argsort(values)
    group, ranked = _group_indices(groups)[order], values[order]

    def median(drawn: np.ndarray) -> list[float]:
        return [float(np.median(np.repeat(ranked, np.bincount(drawn, minlength=group.max() + 1)[group])))]

    return bootstrap_intervals(median, int(group.max()) + 1)[0]


def randomization_test(
    differences: np.ndarray, groups: Sequence[Hashable] | None = None, *, resamples: int = 10 * RESAMPLES
) -> float:
    """Return the p-value of the mean of paired differences, (N,), in (0, 1]; groups: the group of each.

    If both systems are equally good, each difference may as well have the other sign.
    """
    sums = np.bincount(_group_indices(range(len(differences)) if groups is None else groups), differences)
    rng, observed = np.random.default_rng(0), abs(sums.sum()) - 1e-9
    blocks = (2.0 * rng.integers(0, 2, (100, len(sums)), np.int8) - 1 for _ in range(resamples // 100))
    as_large = sum(int((abs(signs @ sums) >= observed).sum()) for signs in blocks)
    return (as_large + 1) / (resamples + 1)


def _group_indices(groups: Iterable[Hashable]) -> np.ndarray:
    """Return the index of the group of each value, (N,)."""
    indices: dict[Hashable, int] = {}
    return np.array([indices.setdefault(group, len(indices)) for group in groups])
