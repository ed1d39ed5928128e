"""Thompson sampling: rewards count in 0..1, an impression at a time; probabilities are those of the draw."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bandits import BetaThompson, Context, Draws, build_slate, slate_propensities
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
