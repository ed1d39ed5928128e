"""Thompson sampling: rewards count in 0..1, an impression at a time; probabilities are those of the draw."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import special, stats

from bandits import Beliefs, BetaThompson, Context, Draws, Places, build_slate, slate_propensities
from bandits.ops.arrays import Float64, Int32
from bandits.worlds import row_block

NOBODY = Context(np.zeros(1, np.int32), np.ones(1, np.float32))


def belief(rewards: list[float], cap: float = 1.0) -> tuple[float, float]:
    """Beta parameters of an item after an impression with each of these rewards."""
    policy = BetaThompson(cap=cap)
    n = len(rewards)
    policy.learn(row_block([NOBODY] * n, np.zeros((n, 1), np.int32), np.array(rewards)[:, None]))
    plan = policy.plan(NOBODY, np.array([0], np.int32))
    return float(plan.a[0]), float(plan.b[0])


@pytest.mark.parametrize(
    ("rewards", "cap", "expected"),
    [
        ([10.0] + [0.0] * 9, 1.0, (2.0, 10.0)),
        ([10.0] + [0.0] * 9, 10.0, (2.0, 10.0)),
        ([2.0] + [0.0] * 9, 10.0, (1.2, 10.8)),
        ([-5.0] + [1.0] * 5 + [0.0] * 4, 1.0, (6.0, 6.0)),
        ([-5.0] * 10, 1.0, (1.0, 11.0)),
    ],
)
def test_a_reward_is_cut_and_scaled_an_impression_at_a_time(
    rewards: list[float], cap: float, expected: tuple[float, float]
) -> None:
    assert belief(rewards, cap) == pytest.approx(expected)


def test_a_reward_that_changes_step_by_step_counts_as_where_it_ends() -> None:
    policy, one = BetaThompson(), row_block([NOBODY], np.zeros((1, 1), np.int32), np.array([[-3.0]]))
    policy.learn(one)
    policy.learn(replace(one, kind=one.kind[1:], slate=one.slate[1:], place=one.place[1:],
                         user=one.user[1:], item=one.item[1:], reward=np.array([3.5]),
                         before=np.array([-3.0]), first=one.first[1:], ts=one.ts[1:]))  # fmt: skip
    plan = policy.plan(NOBODY, np.array([0], np.int32))
    assert (plan.a.tolist(), plan.b.tolist()) == ([1.5], [1.5])


@pytest.mark.parametrize("n", [5, 100, 500])
def test_replayed_against_itself_every_weight_is_one_and_all_items_together_have_one(n: int) -> None:
    policy, rng, everything = BetaThompson(), np.random.default_rng(n), np.arange(n, dtype=np.int32)
    shown = np.stack([rng.permutation(n)[:5] for _ in range(2 * n)]).astype(np.int32)
    policy.learn(row_block([NOBODY] * 2 * n, shown, (rng.random(shown.shape) < 0.1).astype(float)))
    none = everything[:0]
    for i in range(20):
        draws = Draws(3, f"r{i}")
        logged = build_slate(everything, policy, everything, NOBODY, epsilon=1.0, k=5, draws=draws)
        again = slate_propensities(
            none, policy, everything, NOBODY, logged.items, epsilon=1.0, draws=Draws(9, "x")
        )
        assert (again / logged.propensities).tolist() == [1.0] * 5
    assert policy.probabilities(NOBODY, everything).sum() == pytest.approx(1.0, abs=1e-12)


def test_logged_propensities_turn_its_log_into_the_value_of_uniform_without_bias() -> None:
    policy, n_items, n = BetaThompson(), 12, 6_000
    shown = np.tile(np.arange(n_items, dtype=np.int32), (8, 1))
    rewards = (np.random.default_rng(1).random(shown.shape) < np.linspace(0.1, 0.6, n_items)).astype(float)
    policy.learn(row_block([NOBODY] * 8, shown, rewards))
    arms = np.arange(n_items, dtype=np.int32)
    choices = [policy.decide(NOBODY, arms, Draws(2, f"r{i}")) for i in range(n)]
    weights = np.array([1 / n_items / choice.probability for choice in choices])
    assert abs(weights.mean() - 1.0) < 4 * weights.std() / np.sqrt(n)


def priced(a: Float64, b: Float64, slate: Int32) -> Float64:
    """Propensities (k,) of a slate that the policy fills alone, believing Beta(a, b) of rows 0..n - 1."""
    arms, out = np.arange(a.size, dtype=np.int32), np.empty(slate.size)
    Beliefs(a, b).fill(
        Places(
            arms[:0], arms, 0, arms[:0], 1.0, np.uint64(1), slate, slate.copy(), out, np.ones(10, np.bool_)
        )
    )
    return out


def exact_share(a: Float64, b: Float64, i: int) -> float:
    """The integral of f_i and all other F, by scipy between many quantiles of every belief."""
    kinds, counts = np.unique(np.stack([a, b]), axis=1, return_counts=True)
    p, q, tail = kinds[0][:, None], kinds[1][:, None], np.logspace(-13, -0.31, 40)
    ends = np.unique(
        np.r_[0, special.betaincinv(p, q, tail).ravel(), special.betainccinv(p, q, tail).ravel(), 1]
    )
    nodes, weights = np.polynomial.legendre.leggauss(4)
    half = np.diff(ends)[:, None] / 2
    x, w = (ends[:-1, None] + half * (nodes + 1)).ravel(), (half * weights).ravel()
    others = counts - ((kinds[0] == a[i]) & (kinds[1] == b[i]))
    below = np.prod(special.betainc(p, q, x) ** others[:, None], axis=0)
    return float(below * stats.beta.pdf(x, a[i], b[i]) @ w)


FEW = np.random.default_rng(8).integers(0, 2, (2, 1_000)).astype(float)
MEANS, KNOWN = np.linspace(0.1, 0.2, 40), np.linspace(0.3, 0.9, 12)
SKEWED = {
    "many that know and two that do not": (np.r_[1e5 * MEANS, 1, 1], np.r_[1e5 * (1 - MEANS), 1, 1]),
    "a few that know above many alike": (
        np.r_[1e6 * KNOWN, np.ones(500)], np.r_[1e6 * (1 - KNOWN), np.full(500, 30.0)],
    ),
    "nobody knows anything": (np.ones(30), np.ones(30)),
    "a thousand with ties": (1.0 + FEW[0], 2.0 + FEW[1]),
    "two": (np.array([3e6, 1.2]), np.array([1e6, 1.0])),
}  # fmt: skip


@pytest.mark.parametrize("beliefs", SKEWED.values(), ids=SKEWED.keys())
def test_at_every_place_the_propensity_is_the_share_among_those_not_above(
    beliefs: tuple[Float64, Float64],
) -> None:
    a, b = beliefs
    slate = np.argsort(-a / (a + b), kind="stable")[:10].astype(np.int32)
    logged, left = priced(a, b, slate), np.arange(a.size)
    for place, item in enumerate(slate.tolist()):
        if place in (0, 4, 8, 9):
            exact = exact_share(a[left], b[left], int(np.flatnonzero(left == item)[0]))
            assert logged[place] == pytest.approx(exact, rel=1e-5, abs=1e-12)
        left = left[left != item]


def test_the_tenth_place_is_won_as_often_as_drawing_from_the_beliefs_wins_it() -> None:
    a, b = SKEWED["many that know and two that do not"]
    above, left, n = [41, *range(39, 31, -1)], np.array([*range(32), 40]), 40_000
    won = np.bincount(np.random.default_rng(1).beta(a[left], b[left], (n, 33)).argmax(1), minlength=33) / n
    for item in (31, 40):
        logged = priced(a, b, np.array([*above, item], np.int32))[9]
        found = won[np.flatnonzero(left == item)[0]]
        assert abs(logged - found) < 5 * np.sqrt(found * (1 - found) / n)
