"""Policies that forget: sums are what their outcomes are worth now, in any order; settings that cannot be are
refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bandits import BetaThompson, Context, DiagLinUcb, EpsilonGreedy, LinUcb, Policy, PolicyError, Uniform
from bandits.forgetting import Forgetting, SharedSums
from bandits.ops.arrays import Float32, Float64, Int32, Int64
from bandits.testing import cut
from bandits.worlds import BernoulliWorld, FlippingWorld, play, row_block
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


def asked(policy: LinUcb | DiagLinUcb, context: Context) -> Float64:
    return policy.ucb(context, np.arange(4, dtype=np.int32))


def by_the_book(z: Float64, r: Float64, weights: Float64, x: Float64, alpha: float = 0.5) -> float:
    """theta . x + alpha sqrt(x^T A^-1 x) where each impression z with reward r counts by its weight."""
    a = np.eye(x.size) + (weights[:, None] * z).T @ z
    return float(x @ np.linalg.solve(a, z.T @ (weights * r)) + alpha * np.sqrt(x @ np.linalg.solve(a, x)))


def with_requests(block: RowBlock, seed: int) -> RowBlock:
    """Each slate with features of its own, and two clusters of four."""
    rng, n = np.random.default_rng(seed), block.decided.size
    x = rng.normal(size=(n, 3)).astype(np.float32)
    clusters = np.stack([rng.permutation(4)[:2] for _ in range(n)]).astype(np.int32)
    return replace(block, request=x, clusters=clusters, weights=rng.dirichlet([1, 1], n).astype(np.float32))


@WAYS
@pytest.mark.parametrize("max_arms", [10, 1])
def test_lin_ucb_is_the_textbook_of_weighted_outcomes_in_any_order(
    forgetting: Forgetting, max_arms: int
) -> None:
    block = with_requests(outcomes(4), 4)
    weights, x = worth(forgetting, block.slate_ts), np.array([1.0, -0.5, 2.0], np.float32)
    for pieces in ([block], shuffled(block, 5)):
        policy = LinUcb(3, freeze_rows=0, max_arms=max_arms, forgetting=forgetting)
        for piece in pieces:
            policy.learn(piece)
        first = int(block.items[pieces[0].slate[0]])  # has the only arm, if there is one alone
        groups = (
            [[0], [1], [2], [3]] if max_arms > 1 else [[first], [item for item in range(4) if item != first]]
        )
        scores = asked(policy, Context(np.zeros(1, np.int32), np.ones(1, np.float32), x))
        for items in groups:
            mine = np.isin(block.items, items)
            z, r = block.request[mine].astype(float), block.rewards[mine].astype(float)
            expected = by_the_book(z, r, weights[mine], x.astype(float))
            assert scores[items[0]] == pytest.approx(expected, rel=1e-9)


@WAYS
def test_the_shared_form_is_the_textbook_of_weighted_outcomes_in_any_order(forgetting: Forgetting) -> None:
    block = with_requests(outcomes(6), 6)
    x = np.array([1.0, -0.5, 2.0], np.float32)

    def features(rows: Int32) -> Float32:
        return np.stack([np.ones(rows.size), rows % 2], axis=1).astype(np.float32)

    z = (features(block.items)[:, :, None] * block.request[:, None]).reshape(-1, 6).astype(float)
    weights, r = worth(forgetting, block.slate_ts), block.rewards.astype(float)
    of = (features(np.arange(4, dtype=np.int32))[:, :, None] * x).reshape(-1, 6).astype(float)
    for pieces in ([block], shuffled(block, 7)):
        policy = LinUcb(3, item_features=features, item_dim=2, freeze_rows=0, forgetting=forgetting)
        for piece in pieces:
            policy.learn(piece)
        scores = asked(policy, Context(np.zeros(1, np.int32), np.ones(1, np.float32), x))
        assert scores == pytest.approx([by_the_book(z, r, weights, one) for one in of], rel=1e-9)


@WAYS
def test_diag_lin_ucb_is_its_equations_over_weighted_outcomes_in_any_order(forgetting: Forgetting) -> None:
    block = with_requests(outcomes(8), 8)
    worths, b, d = worth(forgetting, block.slate_ts), np.zeros((4, 4)), np.ones((4, 4))
    for s, (item, weight) in enumerate(zip(block.items, worths, strict=True)):
        w = block.weights[s].astype(float)
        d[item, block.clusters[s]] += weight * w * w
        b[item, block.clusters[s]] += weight * w * block.rewards[s]
    w = np.array([0.75, 0.25])
    expected = (b / d)[:, [1, 2]] @ w + 0.5 * np.sqrt((1 / d)[:, [1, 2]] @ (w * w))
    held = []
    for pieces in ([block], shuffled(block, 9)):
        policy = DiagLinUcb(forgetting=forgetting)
        for piece in pieces:
            policy.learn(piece)
        context = Context(np.array([1, 2], np.int32), w.astype(np.float32))
        assert asked(policy, context) == pytest.approx(expected, rel=1e-9)
        held.append([policy.edges(row)[0].tolist() for row in range(4)])
    assert held[0] == held[1]  # a part of a window that has ended leaves no edge


def test_shares_of_what_all_items_share_are_added_by_their_steps() -> None:
    total = SharedSums(HALF_LIFE, 1)
    total.adopt(np.array([10, 42, 74]), np.array([[4.0], [2.0], [1.0]]))  # half-lives of 32 steps apart
    assert (total.newest, total.at(74).tolist()) == (74, pytest.approx([3.0]))
    epochs, sums = total.slots()
    assert (epochs.tolist(), sums.tolist()) == ([74], [pytest.approx([3.0])])


def test_a_reading_of_centroids_that_are_gone_is_dropped_in_every_part_of_a_window() -> None:
    policy, block = DiagLinUcb(forgetting=WINDOW), with_requests(outcomes(10), 10)
    policy.learn(block)
    policy.centroids_gone(np.array([1, 3], np.int32))
    left = {cluster // WINDOW.parts for row in range(4) for cluster in policy.edges(row)[0].tolist()}
    assert left == {0, 2}


@WAYS
def test_a_late_reward_counts_as_much_as_its_impression(forgetting: Forgetting) -> None:
    policy, block = BetaThompson(forgetting=forgetting), outcomes(3, n=1, n_items=1)
    policy.learn(cut(block, 0, 1))
    later = row_block([NOBODY], np.array([[1]], np.int32), np.zeros((1, 1)), ts=block.slate_ts + 64_000)
    policy.learn(later)
    policy.learn(cut(row_block([NOBODY], block.items[None], np.ones((1, 1)), ts=block.slate_ts), 1, 2))
    shown, reward = policy.of(np.zeros(1, np.int32))
    assert shown[0] == reward[0] == pytest.approx(1.0 if forgetting.window_ms else 0.5)


def some_of_each(forgetting: Forgetting) -> list[Policy]:
    one = {"item_features": lambda rows: np.ones((rows.size, 1), np.float32)}
    return [
        BetaThompson(forgetting=forgetting),
        DiagLinUcb(forgetting=forgetting),
        LinUcb(1, source="clusters", forgetting=forgetting),
        LinUcb(1, source="clusters", forgetting=forgetting, **one),  # type: ignore[arg-type]
    ]


def only_item(item: int, n: int, ts: int) -> RowBlock:
    """n impressions with a reward each, at one time."""
    return row_block([NOBODY] * n, np.full((n, 1), item, np.int32), np.ones((n, 1)), ts=np.full(n, ts))


@WAYS
def test_an_item_that_is_not_shown_any_more_becomes_uncertain_again(forgetting: Forgetting) -> None:
    policy = BetaThompson(forgetting=forgetting)
    policy.learn(only_item(0, 50, 0))
    sure = float(policy.plan(NOBODY, np.zeros(1, np.int32)).a[0])
    policy.learn(only_item(1, 1, 10**7))
    assert (sure, round(float(policy.plan(NOBODY, np.zeros(1, np.int32)).a[0]), 6)) == (51.0, 1.0)
    for linear in (DiagLinUcb(forgetting=forgetting), LinUcb(1, source="clusters", forgetting=forgetting)):
        linear.learn(only_item(0, 50, 0))
        sure = float(asked(linear, NOBODY)[0])
        linear.learn(only_item(1, 1, 10**7))
        assert (sure > 1.0, round(float(asked(linear, NOBODY)[0]), 6)) == (True, 0.5)


@WAYS
def test_without_the_newest_item_now_is_when_the_others_learned(forgetting: Forgetting) -> None:
    for policy, fresh in zip(some_of_each(forgetting)[:3], some_of_each(forgetting), strict=False):
        policy.learn(only_item(0, 50, 0))
        policy.learn(only_item(1, 1, 64_000))
        policy.remove_items(np.ones(1, np.int32))
        fresh.learn(only_item(0, 50, 0))
        for one in (policy, fresh):
            one.learn(only_item(2, 3, 0))
        rows = np.array([0, 2, 3], np.int32)
        assert policy.probabilities(NOBODY, rows).tolist() == fresh.probabilities(NOBODY, rows).tolist()


@WAYS
def test_arms_that_flip_every_minute_cost_little_more_than_chance(forgetting: Forgetting) -> None:
    worlds = [FlippingWorld(BernoulliWorld(5, seed=seed), every=60) for seed in (1, 2)]
    for make in (BetaThompson, DiagLinUcb, EpsilonGreedy):
        runs = [play(world, make(forgetting=forgetting), 1_200, seed=1) for world in worlds]
        blind = [play(world, Uniform(), 1_200, seed=1) for world in worlds]
        # Nobody can follow this: what is known of a minute is wrong in the next.
        assert np.mean([run.regret for run in runs]) < 1.2 * np.mean([run.regret for run in blind])
        assert all(((run.probabilities > 0) & (run.probabilities <= 1)).all() for run in runs)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"half_life_ms": 60_000, "window_ms": 60_000}, "drop window_ms to let outcomes fade, or half_life"),
        ({"half_life_ms": 5}, "half_life_ms is from 1000"),
        ({"window_ms": 999}, "window_ms is from 1000"),
        ({"half_life_ms": -1}, "half_life_ms"),
        ({"window_ms": 60_000, "window_parts": 0}, "window_parts"),
        ({"half_life_ms": 60_000, "window_parts": 4}, "window_parts = 4 does nothing without window_ms"),
        ({"window_parts": 4}, "window_parts = 4 does nothing without window_ms"),
        ({"half_life_ms": 10**15}, "half_life_ms"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        build_parts(LearningSettings(policies=({"kind": "thompson", **settings},)))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"max_arms": 1_000_000, "window_parts": 64}, "would take .* GB with the 64 parts of a window"),
        ({"form": "shared", "attributes": ["genre"], "attribute_dim": 200}, "lower window_parts or the numb"),
    ],
)
def test_a_window_that_would_take_too_much_memory_is_refused(settings: dict[str, Any], said: str) -> None:
    entry = {"kind": "lin_ucb", "window_ms": 60_000, **settings}
    with pytest.raises(SettingsError, match=said):
        build_parts(LearningSettings(policies=(entry,)))


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
