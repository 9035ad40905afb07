import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from florence_rag.evaluation.bootstrap import interval, interval_of, median_interval


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_an_interval_lies_within_the_values(values):
    low, high = interval(np.array(values), resamples=50)
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9


def test_it_is_that_of_the_normal_approximation_for_many_values():
    values = np.repeat([0.0, 1.0], 500)
    low, high = interval(values)
    assert (low, high) == pytest.approx((0.5 - 1.96 * 0.0158, 0.5 + 1.96 * 0.0158), abs=0.005)


def test_what_belongs_together_tells_less():
    values = np.repeat(np.tile([0.0, 1.0], 50), 10)
    apart, together = interval(values), interval(values, np.repeat(np.arange(100), 10).tolist())
    assert together[1] - together[0] == pytest.approx((apart[1] - apart[0]) * 10**0.5, rel=0.15)


def test_it_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    samples = [interval((rng.random(200) < 0.3).astype(float), resamples=200) for _ in range(200)]
    assert 0.88 <= np.mean([low <= 0.3 <= high for low, high in samples]) <= 0.99


def test_it_is_the_same_every_time_and_leaves_out_what_is_no_number():
    assert interval(np.array([0.0, 1.0, 1.0])) == interval(np.array([0.0, 1.0, 1.0]))
    assert interval_of(lambda drawn: np.nan if drawn[0] else 0.25, 2) == (0.25, 0.25)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=20))
def test_the_interval_of_a_median_lies_around_it_within_the_values(values):
    together = [number // 2 for number in range(len(values))]
    low, high = median_interval(np.array(values, float), together)
    assert min(values) <= low <= high <= max(values)


def test_the_median_is_drawn_with_what_belongs_together():
    assert median_interval(np.array([1.0, 9.0, 9.0, 9.0, 1.0, 1.0]), "abbaab") == (1, 9)
    assert median_interval(np.array([1.0, 2.0, 3.0]), "aaa") == (2, 2)
