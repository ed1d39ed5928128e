"""Policies that forget: sums are what their outcomes are worth now, in any order; settings that cannot be are
refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bandits import BetaThompson, Context, PolicyError
from bandits.forgetting import Forgetting
from bandits.ops.arrays import Float64, Int64
from bandits.testing import cut
from bandits.worlds import row_block
from learners.rows import RowBlock
from learning.errors import SettingsError
from learning.parts import build_parts
from learning.settings import LearningSettings

NOBODY = Context(np.zeros(1, np.int32), np.ones(1, np.float32))
HALF_LIFE, WINDOW = Forgetting(half_life_ms=64_000), Forgetting(window_ms=80_000)
WAYS = pytest.mark.parametrize("forgetting", [HALF_LIFE, WINDOW], ids=["half-life", "window"])


def outcomes(seed: int, n: int = 300, n_items: int = 4) -> RowBlock:
    """Impressions of one item each, with a reward half of the time, over 300 s."""
    rng = np.random.default_rng(seed)
    items, rewards = rng.integers(0, n_items, (n, 1)), rng.integers(0, 2, (n, 1)).astype(float)
    return row_block([NOBODY] * n, items.astype(np.int32), rewards, ts=np.sort(rng.integers(0, 300_000, n)))


def worth(forgetting: Forgetting, ts: Int64) -> Float64:
    """What outcomes of these times are worth at the last of them, by the book."""
    step = ts // forgetting.step_ms
    age = step.max() - step
    if forgetting.window_ms:
        return np.asarray(age < forgetting.window_parts, np.float64)
    return np.asarray(0.5 ** (age * forgetting.step_ms / forgetting.half_life_ms), np.float64)


def shuffled(block: RowBlock, seed: int) -> list[RowBlock]:
    """The operations one by one, in any order: clicks also long after their impression, and before it."""
    order = np.random.default_rng(seed).permutation(len(block)).tolist()
    return [cut(block, o, o + 1) for o in order]


@WAYS
def test_beliefs_are_the_weighted_outcomes_in_any_order(forgetting: Forgetting) -> None:
    block, rows = outcomes(1), np.arange(4, dtype=np.int32)
    weights, shown, won = worth(forgetting, block.slate_ts), np.zeros(4), np.zeros(4)
    np.add.at(shown, block.items, weights)
    np.add.at(won, block.items, weights * block.rewards)
    for pieces in ([block], shuffled(block, 2)):
        policy = BetaThompson(forgetting=forgetting)
        for piece in pieces:
            policy.learn(piece)
        plan = policy.plan(NOBODY, rows)
        np.testing.assert_allclose(plan.a, 1.0 + won, rtol=1e-9)
        np.testing.assert_allclose(plan.b, 1.0 + shown - won, rtol=1e-9)


@WAYS
def test_a_late_reward_counts_as_much_as_its_impression(forgetting: Forgetting) -> None:
    policy, block = BetaThompson(forgetting=forgetting), outcomes(3, n=1, n_items=1)
    policy.learn(cut(block, 0, 1))
    later = row_block([NOBODY], np.array([[1]], np.int32), np.zeros((1, 1)), ts=block.slate_ts + 64_000)
    policy.learn(later)
    policy.learn(cut(row_block([NOBODY], block.items[None], np.ones((1, 1)), ts=block.slate_ts), 1, 2))
    shown, reward = policy.of(np.zeros(1, np.int32))
    assert shown[0] == reward[0] == pytest.approx(1.0 if forgetting.window_ms else 0.5)


@WAYS
def test_an_item_that_is_not_shown_any_more_becomes_uncertain_again(forgetting: Forgetting) -> None:
    policy = BetaThompson(forgetting=forgetting)
    policy.learn(row_block([NOBODY] * 50, np.zeros((50, 1), np.int32), np.ones((50, 1))))
    sure = policy.plan(NOBODY, np.zeros(1, np.int32))
    policy.learn(row_block([NOBODY], np.ones((1, 1), np.int32), np.zeros((1, 1)), ts=np.array([10**7])))
    unsure = policy.plan(NOBODY, np.zeros(1, np.int32))
    assert (sure.a[0], round(float(unsure.a[0]), 6)) == (51.0, 1.0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"half_life_ms": 60_000, "window_ms": 60_000}, "drop window_ms to let outcomes fade, or half_life"),
        ({"half_life_ms": 5}, "half_life_ms is from 1000"),
        ({"window_ms": 999}, "window_ms is from 1000"),
        ({"half_life_ms": -1}, "half_life_ms"),
        ({"window_ms": 60_000, "window_parts": 0}, "window_parts"),
        ({"half_life_ms": 10**15}, "half_life_ms"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        build_parts(LearningSettings(policies=({"kind": "thompson", **settings},)))


@pytest.mark.parametrize(
    ("kept", "read", "said"),
    [
        (None, HALF_LIFE, "kept without forgetting, and is to be read with half_life_ms = 64000"),
        (HALF_LIFE, None, "kept with half_life_ms = 64000, and is to be read without forgetting"),
        (WINDOW, Forgetting(window_ms=80_000, window_parts=4), "window_parts = 8, and is .*window_parts = 4"),
    ],
)
def test_what_was_kept_in_another_way_is_refused(
    kept: Forgetting | None, read: Forgetting | None, said: str
) -> None:
    policy = BetaThompson(forgetting=kept)
    policy.learn(outcomes(1))
    with pytest.raises(PolicyError, match=said):
        BetaThompson(forgetting=read).restore(policy.snapshot())
