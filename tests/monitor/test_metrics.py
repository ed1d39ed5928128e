"""Metrics against hand-computed values and an independent definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor import auc, beta_limit, bounded_interval, hit_at_k, mean_interval, ndcg_at_k, paired_interval
from monitor.errors import MeasureError
from monitor.stats import RunningMoments

SCORES = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30)


@settings(max_examples=50, deadline=None)
@given(SCORES)
def test_auc_is_the_share_of_pairs_in_the_right_order(rows: list[tuple[int, bool]]) -> None:
    good = [s for s, y in rows if y]
    bad = [s for s, y in rows if not y]
    value = auc([s for s, _ in rows], [y for _, y in rows])
    if not good or not bad:
        assert math.isnan(value)
    else:
        wins = sum((g > b) + 0.5 * (g == b) for g in good for b in bad)
        assert value == pytest.approx(wins / (len(good) * len(bad)))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 10), max_size=12), st.integers(1, 12))
def test_ndcg_is_between_zero_and_one_and_one_when_sorted(gains: list[float], k: int) -> None:
    assert 0.0 <= ndcg_at_k(gains, k) <= 1.0 + 1e-12
    if any(gains):
        assert ndcg_at_k(sorted(gains, reverse=True), k) == pytest.approx(1.0)


def test_ndcg_of_no_match_and_of_a_perfect_but_short_list() -> None:
    assert ndcg_at_k([0, 0, 0], 3) == 0.0
    assert ndcg_at_k([1], 10) == 1.0


def test_a_hit_beyond_k_does_not_count() -> None:
    assert hit_at_k(["a", "b"], "b", 1) == 0.0


def test_the_interval_covers_the_truth_nineteen_times_in_twenty() -> None:
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(400):
        interval = mean_interval(rng.normal(1.0, 2.0, 30))
        covered += interval.low <= 1.0 <= interval.high
    assert 0.92 <= covered / 400 <= 0.98


@pytest.mark.parametrize("rate", [0.003, 0.4, 0.995])
def test_a_bounded_interval_covers_shares_near_the_ends_and_stays_in_their_range(rate: float) -> None:
    rng = np.random.default_rng(7)
    found = [bounded_interval(rng.random(200) < rate, 0.0, 1.0) for _ in range(300)]
    assert np.mean([low <= rate <= high for _, low, high in found]) >= 0.93
    assert all(0.0 <= low < high <= 1.0 for _, low, high in found)


def test_one_pass_gives_the_same_bounded_interval() -> None:
    x = np.random.default_rng(1).random(40)
    moments = RunningMoments()
    for value in x:
        moments.add(value)
    assert moments.bounded(0.0, 1.0) == pytest.approx(bounded_interval(x, 0.0, 1.0))


@pytest.mark.parametrize("spread", [1e-33, 1e-18, 1e-12, 1e-9])
def test_the_limits_of_values_that_hardly_differ_are_numbers_about_their_mean(spread: float) -> None:
    low, high = (beta_limit(0.7, spread, 3, 0.0, 1.0, level) for level in (0.025, 0.975))
    width = 1.96 * (spread / 3) ** 0.5
    assert (0.7 - low, high - 0.7) == pytest.approx((width, width), rel=1e-2, abs=1e-15)


@pytest.mark.parametrize("k", [0, -1])
def test_a_list_of_no_length_is_refused(k: int) -> None:
    with pytest.raises(MeasureError, match="k: expected"):
        hit_at_k(["a"], "a", k)
    with pytest.raises(MeasureError, match="k: expected"):
        ndcg_at_k([1.0], k)


def test_a_paired_interval_is_that_of_the_difference() -> None:
    assert paired_interval([1, 0, 1], [0, 0, 1]) == mean_interval([1, 0, 0])


def test_one_pass_moments_agree_with_two_passes() -> None:
    x = np.random.default_rng(3).normal(size=200)
    moments = RunningMoments()
    for value in x:
        moments.add(float(value))
    assert moments.interval() == pytest.approx(mean_interval(x))


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(MeasureError, match=r"\(2,\) and \(3,\)"):
        paired_interval([1, 2], [1, 2, 3])
