"""Formulas of the room, by hand and by another road."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bandits import Draws, request_key
from bandits.ops.arrays import Float64
from bandits.ops.beliefs import best_probabilities
from bandits.ops.choice import rule_probabilities
from bandits.ops.draws import uniform
from bandits.ops.lanes import dot
from stream.kernel import kernel


@kernel
def product_in_lanes(left: Float64, right: Float64) -> float:
    return dot(left, right)


def splitmix(key: int, place: int, lane: int) -> float:
    """The generator as its docstring describes it, in plain integers."""
    x = (key + 0x9E3779B97F4A7C15 * ((place << 32 | lane) + 1)) % 2**64
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
    return ((x ^ (x >> 31)) >> 11) * 2.0**-53


def test_a_foreign_program_can_repeat_the_draws() -> None:
    key = request_key(7, "r1")
    for place, lane in ((0, 0), (0, 1), (3, 0), (999, 12)):
        assert uniform(key, place, lane) == splitmix(int(key), place, lane)
    assert Draws(7, "r1", place=3).random() == splitmix(int(key), 3, 0)


def test_the_draws_are_uniform_over_places_lanes_and_requests() -> None:
    by_place = [Draws(1, "r", place=p).random() for p in range(3_000)]
    by_request = [Draws(1, f"r{i}").random() for i in range(3_000)]
    for sample in (by_place, by_request):
        assert stats.kstest(sample, "uniform").pvalue > 1e-3


BELIEFS = [
    ([1.0, 1.0, 1.0], [1.0, 1.0, 1.0]),
    ([2.0, 1.0], [1.0, 1.0]),
    ([3.0, 9.0, 1.0, 1.5], [40.0, 200.0, 1.0, 7.0]),
    ([1e5, 1e5 + 300, 1e5 + 100], [1e6, 1e6, 1e6]),
]


@pytest.mark.parametrize(("a", "b"), BELIEFS)
def test_the_probability_of_being_the_best_is_the_share_of_draws_won(a: list[float], b: list[float]) -> None:
    draws = np.random.default_rng(5).beta(a, b, size=(200_000, len(a)))
    won = np.bincount(draws.argmax(axis=1), minlength=len(a)) / len(draws)
    assert np.allclose(best_probabilities(np.array(a), np.array(b)), won, atol=0.006)


@pytest.mark.parametrize("n", [1, 5, 100, 500])
def test_probabilities_of_being_the_best_sum_to_one_and_are_alike_for_the_like(n: int) -> None:
    rng = np.random.default_rng(n)
    a, b = (1.0 + rng.integers(0, most, n).astype(np.float64) for most in (3, 500))
    p = best_probabilities(a, b)
    assert abs(p.sum() - 1.0) < 1e-12
    assert np.allclose(best_probabilities(np.ones(n), np.ones(n)), 1 / n)
    assert np.allclose(best_probabilities(a[::-1].copy(), b[::-1].copy()), p[::-1], rtol=1e-9)


def test_the_rule_shares_among_the_top_and_whoever_ties_with_its_last() -> None:
    scores, widths = np.array([3.0, 2.0, 2.0, 1.0, -np.inf]), np.full(5, 0.5)
    p = rule_probabilities(scores, widths, 2, 2.0, 0.3, 0.0)
    e = np.exp(-1.0)
    soft = np.array([1.0, e, e]) / (1 + 2 * e)
    assert np.allclose(p, [*(0.7 * soft + 0.1), 0.0, 0.0])
    order = np.array([4, 2, 0, 3, 1])
    assert np.allclose(rule_probabilities(scores[order], widths, 2, 2.0, 0.3, 0.0), p[order])


@pytest.mark.parametrize("n", [0, 1, 7, 8, 31, 32, 136, 141])
def test_the_inner_product_in_lanes_adds_in_the_order_it_states(n: int) -> None:
    rng = np.random.default_rng(n)
    left, right = rng.normal(size=n), rng.normal(size=n)
    sums, whole = np.zeros(32), n // 8 * 8
    for i, product in enumerate((left * right)[:whole]):
        sums[i % 32] += product
    lanes = (sums[:8] + sums[8:16]) + (sums[16:24] + sums[24:])
    while lanes.size > 1:
        lanes = lanes[::2] + lanes[1::2]
    total = lanes[0]
    for i in range(whole, n):
        total += left[i] * right[i]
    assert product_in_lanes(left, right) == total
