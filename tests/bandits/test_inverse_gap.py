"""The two samplers of regression bandits: SquareCB's and FastCB's chances, for whatever is predicted."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandits import Draws, InverseGap, Places
from bandits.ops.arrays import Float64, Int32
from bandits.ops.inverse_gap import gap_probabilities

LOSSES = st.lists(
    st.floats(0.0, 1.0) | st.sampled_from([0.0, 1.0, 0.5, 5e-324]), min_size=1, max_size=40
).map(np.array)
GAMMAS = st.floats(0.0, 1e12) | st.sampled_from([0.0, 5e-324, 1e308, math.inf])
NOBODY = np.zeros(0, np.int32)


def textbook(y: Float64, gamma: float, fast: bool) -> Float64:
    """The formulas as they stand, where nothing ties and nothing is 0 or infinite."""
    b, k = int(y.argmin()), y.size
    p: Float64 = y[b] / (k * y[b] + gamma * (y - y[b])) if fast else 1.0 / (k + gamma * (y - y[b]))
    p[b] = 0.0
    p[b] = 1.0 - p.sum()
    return p


@given(LOSSES, GAMMAS, st.booleans())
@settings(deadline=None, max_examples=300)
def test_it_is_a_proper_distribution_whose_largest_share_is_the_best_ones(
    y: Float64, gamma: float, fast: bool
) -> None:
    p = gap_probabilities(y, gamma, fast)
    assert (p >= 0).all()
    assert abs(p.sum() - 1) < 1e-12
    assert p.max() == p[y.argmin()]
    assert (p[y == y.min()] == p.max()).all()


@given(LOSSES, GAMMAS, st.booleans(), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=100)
def test_a_better_prediction_has_no_smaller_share_and_order_says_nothing(
    y: Float64, gamma: float, fast: bool, shuffler: object
) -> None:
    p = gap_probabilities(y, gamma, fast)
    order = np.argsort(y, kind="stable")
    assert (np.diff(p[order]) <= 1e-15).all()
    assert gap_probabilities(y[order], gamma, fast) == pytest.approx(p[order], abs=1e-14)


@given(LOSSES, st.booleans())
@settings(deadline=None, max_examples=100)
def test_a_gamma_of_nothing_is_uniform_and_an_infinite_one_is_greedy(y: Float64, fast: bool) -> None:
    best = y == y.min()
    assert gap_probabilities(y, 0.0, fast) == pytest.approx(np.full(y.size, 1 / y.size), abs=1e-15)
    assert gap_probabilities(y, math.inf, fast) == pytest.approx(best / best.sum(), abs=1e-15)


@pytest.mark.parametrize("fast", [False, True])
def test_the_limits_are_reached_gradually(fast: bool) -> None:
    y = np.array([0.3, 0.5, 0.9])
    assert gap_probabilities(y, 1e-9, fast) == pytest.approx(np.full(3, 1 / 3), abs=1e-8)
    assert gap_probabilities(y, 1e9, fast) == pytest.approx([1, 0, 0], abs=1e-8)


@pytest.mark.parametrize("fast", [False, True])
def test_the_shares_are_those_of_the_formulas(fast: bool) -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        y, gamma = rng.uniform(0.01, 1, rng.integers(1, 12)), 10 ** rng.uniform(-2, 4)
        assert gap_probabilities(y, gamma, fast) == pytest.approx(textbook(y, gamma, fast), abs=1e-12)


def test_fast_cb_explores_less_than_square_cb_where_the_best_predicted_loss_is_near_zero() -> None:
    rng = np.random.default_rng(2)
    for best in (0.0, 1e-6, 1e-3, 0.05, 0.3):
        y = np.concatenate([[best], rng.uniform(best + 0.1, 1.0, 9)])
        explored = [1 - gap_probabilities(y, 50.0, fast)[0] for fast in (False, True)]
        assert explored[1] < explored[0]
        if best <= 1e-3:
            assert explored[1] < 0.01 * explored[0]


def test_predictions_outside_their_range_are_the_nearest_inside_it() -> None:
    y = np.array([-3.0, 0.2, 7.0, math.nan, math.inf, -math.inf])
    clipped = np.array([0.0, 0.2, 1.0, 1.0, 1.0, 0.0])
    assert gap_probabilities(y, 9.0, False).tolist() == gap_probabilities(clipped, 9.0, False).tolist()


# --- slates ---


def filled(
    plan: InverseGap, key: np.uint64, *, epsilon: float = 1.0, given: Int32 = NOBODY, ranked: Int32 = NOBODY
) -> tuple[tuple[int, ...], Float64]:
    k = given.size or 2
    items, propensities, explored = np.empty(k, np.int32), np.empty(k), np.zeros(k, np.bool_)
    candidates = np.arange(plan.losses.size, dtype=np.int32)
    n = plan.fill(
        Places(ranked, candidates, 0, NOBODY, epsilon, key, given, items, propensities, explored)
    )  # fmt: skip
    return tuple(items[:n].tolist()), propensities[:n]


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("epsilon", [1.0, 0.4])
def test_slates_are_drawn_as_often_as_their_propensities_say(fast: bool, epsilon: float) -> None:
    plan, n = InverseGap(np.array([0.2, 0.25, 0.4, 0.9]), 8.0, fast), 20_000
    ranked = np.array([2, 3, 0, 1], np.int32) if epsilon < 1 else NOBODY
    drawn = [
        filled(plan, Draws(3, str(i)).key, epsilon=epsilon, ranked=ranked)[0] for i in range(n)
    ]  # fmt: skip
    total = 0.0
    for pair in permutations(range(4), 2):
        wanted = np.array(pair, np.int32)
        p = float(np.prod(filled(plan, np.uint64(0), epsilon=epsilon, given=wanted, ranked=ranked)[1]))
        total += p
        seen = drawn.count(pair) / n
        assert abs(seen - p) <= 5 * np.sqrt(p * (1 - p) / n) + 1e-12, (pair, seen, p)
    assert total == pytest.approx(1.0)


def test_at_each_place_the_share_is_that_among_those_not_above() -> None:
    y = np.array([0.2, 0.25, 0.4, 0.9])
    items, propensities = filled(InverseGap(y, 8.0), np.uint64(0), given=np.array([1, 0, 3, 2], np.int32))
    left = np.array([0, 1, 2, 3])
    for item, propensity in zip(items, propensities, strict=True):
        share = gap_probabilities(y[left], 8.0, False)[left == item][0]
        assert propensity == pytest.approx(share, abs=1e-15)
        left = left[left != item]
    assert propensities[-1] == 1.0


def test_fewer_candidates_than_places_fill_fewer_places() -> None:
    assert filled(InverseGap(np.array([0.5]), 1.0), np.uint64(4))[0] == (0,)
    assert filled(InverseGap(np.zeros(0), 1.0), np.uint64(4))[0] == ()
