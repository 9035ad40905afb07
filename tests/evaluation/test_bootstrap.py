import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from florence_rag.evaluation.bootstrap import bootstrap_intervals, mean_interval, median_interval


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_an_interval_lies_within_the_values(values):
    low, high = mean_interval(np.array(values), resamples=50)
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9


def test_many_values_have_the_interval_of_the_normal_approximation():
    values = np.repeat([0.0, 1.0], 500)
    low, high = mean_interval(values)
    assert (low, high) == pytest.approx((0.5 - 1.96 * 0.0158, 0.5 + 1.96 * 0.0158), abs=0.005)


def test_grouped_values_have_a_wider_interval():
    values = np.repeat(np.tile([0.0, 1.0], 50), 10)
    single, grouped = mean_interval(values), mean_interval(values, np.repeat(np.arange(100), 10).tolist())
    assert grouped[1] - grouped[0] == pytest.approx((single[1] - single[0]) * 10**0.5, rel=0.15)


def test_it_covers_the_true_mean_in_95_percent_of_the_samples():
    rng = np.random.default_rng(1)
    samples = [mean_interval((rng.random(200) < 0.3).astype(float), resamples=200) for _ in range(200)]
    assert 0.88 <= np.mean([low <= 0.3 <= high for low, high in samples]) <= 0.99


def test_it_is_deterministic_and_ignores_values_that_are_not_a_number():
    assert mean_interval(np.array([0.0, 1.0, 1.0])) == mean_interval(np.array([0.0, 1.0, 1.0]))
    assert bootstrap_intervals(lambda drawn: [np.nan if drawn[0] else 0.25], 2) == [(0.25, 0.25)]


@settings(max_examples=20)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=20))
def test_the_interval_of_a_median_lies_around_it_within_the_values(values):
    groups = [number // 2 for number in range(len(values))]
    low, high = median_interval(np.array(values, float), groups)
    assert min(values) <= low <= high <= max(values)


def test_the_median_is_drawn_in_groups():
    assert median_interval(np.array([1.0, 9.0, 9.0, 9.0, 1.0, 1.0]), "abbaab") == (1, 9)
    assert median_interval(np.array([1.0, 2.0, 3.0]), "aaa") == (2, 2)
