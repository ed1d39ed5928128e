"""LinUCB by another road: dense matrices, one update after the other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bandits import Context, Draws, LinUcb, PolicyError
from bandits.base import Policy
from bandits.ops.arrays import Float32, Float64, Int32
from bandits.policies.lin_ucb import Settings, build
from bandits.testing import cut
from bandits.worlds import row_block
from learners import Catalogue
from learners.rows import RowBlock
from learners.world import World
from stream.events import ItemEvent
from stream.frame import pack, unpack

N_ITEMS, DIM = 7, 5
ALL = np.arange(N_ITEMS, dtype=np.int32)


def context(x: Any) -> Context:
    return Context(np.zeros(1, np.int32), np.ones(1, np.float32), np.asarray(x, np.float32))


def requests(n: int, seed: int, dim: int = DIM) -> Float64:
    """Requests (n, dim) with an intercept, a word, and numbers of very different sizes."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, dim)) * np.resize([1.0, 1.0, 30.0, 0.01], dim) + np.resize([0, 0, 100, 0.02], dim)
    x[:, 0], x[:, 1] = 1.0, rng.random(n) < 0.3
    return np.asarray(x.astype(np.float32), np.float64)


def block_of(x: Float64, seed: int, n_shown: int = 3) -> tuple[RowBlock, Int32, Float64]:
    rng = np.random.default_rng(seed)
    items = np.stack([rng.permutation(N_ITEMS)[:n_shown] for _ in x]).astype(np.int32)
    rewards = rng.normal(size=items.shape) * (rng.random(items.shape) < 0.5)
    return row_block([context(row) for row in x], items, rewards), items, rewards


def scaling(x: Float64) -> tuple[Float64, Float64]:
    """What the docstring of `Moments` says, of all rows at once."""
    is_flag = np.isin(x, (0, 1)).all(axis=0)
    scale = np.sqrt(x.var(axis=0) + (x * x).mean(axis=0) / len(x) ** 2)
    return np.where(is_flag, 0, x.mean(axis=0)), np.where(is_flag, 1, scale)


def textbook(z: Float64, r: Float64, of: Float64, alpha: float, l2: float = 1.0) -> Float64:
    """theta . z + alpha sqrt(z^T A^-1 z) for each row of `of`, after the impressions `z` with rewards `r`."""
    a = l2 * np.eye(of.shape[1]) + sum((np.outer(row, row) for row in z), np.zeros((of.shape[1],) * 2))
    solved = np.linalg.solve(a, of.T).T
    return np.asarray(of @ np.linalg.solve(a, z.T @ r) + alpha * np.sqrt((of * solved).sum(axis=1)))


def expected_disjoint(x: Float64, items: Int32, rewards: Float64, asked: Float64, **how: float) -> Float64:
    mean, scale = scaling(np.repeat(x, items.shape[1], axis=0))
    z, of = (x - mean) / scale, (asked - mean) / scale
    by_item = []
    for item in ALL:
        slates, places = np.nonzero(items == item)
        by_item.append(textbook(z[slates], rewards[slates, places], of, **how))
    return np.stack(by_item, axis=1)


def scores(policy: LinUcb, asked: Float64) -> Float64:
    return np.stack([policy.ucb(context(x), ALL) for x in asked])


@pytest.mark.parametrize("order", [1, 2, 3])
def test_scores_are_those_of_a_dense_textbook_in_any_order_and_any_cut(order: int) -> None:
    x, asked, rng = requests(80, 1), requests(5, 2), np.random.default_rng(order)
    _, items, rewards = block_of(x, 1)
    policy, slates = LinUcb(DIM, alpha=0.7, l2=2.0), rng.permutation(len(x))
    for part in np.array_split(slates, 1 + 7 * (order - 1)):
        piece = row_block([context(row) for row in x[part]], items[part], rewards[part])
        middle = int(rng.integers(0, len(piece)))
        policy.learn(cut(piece, 0, middle))
        policy.learn(cut(piece, middle, len(piece)))
    expected = expected_disjoint(x, items, rewards, asked, alpha=0.7, l2=2.0)
    assert np.allclose(scores(policy, asked), expected, rtol=1e-9, atol=1e-9)
    assert policy.version == 3 * len(x)


def only(block: RowBlock, rows: Int32) -> RowBlock:
    """What an owner of these rows sees of a block."""
    return replace(block, items=np.where(np.isin(block.items, rows), block.items, -1).astype(np.int32))


def test_owners_of_some_items_each_add_up_to_one_that_owns_all() -> None:
    x, asked = requests(60, 3), requests(5, 4)
    block = block_of(x, 3)[0]
    whole, replica, shares = LinUcb(DIM), LinUcb(DIM), [LinUcb(DIM), LinUcb(DIM)]
    whole.learn(block)
    for share, rows in zip(shares, (ALL[::2], ALL[1::2]), strict=True):
        share.learn(only(block, rows))
        replica.adopt("item", rows, share.export("item", rows))
    none = np.zeros(1, np.int32)
    first, second = (share.export("shared", none) for share in shares)
    replica.adopt("shared", none, {name: first[name] + second[name] for name in first})
    assert np.allclose(scores(replica, asked), scores(whole, asked), rtol=1e-9, atol=1e-9)


def one_hot(rows: Int32) -> Float32:
    """Features of items: the constant, a word of three, a number."""
    return np.stack(
        [np.ones(rows.size), *(rows % 3 == n for n in range(3)), 40.0 + rows], 1, dtype=np.float32
    )


def test_the_shared_form_is_a_dense_textbook_on_request_by_item() -> None:
    x, asked = requests(40, 5), requests(4, 6)
    block, items, rewards = block_of(x, 5)
    policy = LinUcb(DIM, item_features=one_hot, item_dim=5, alpha=0.7)
    for o in range(0, len(block), 7):
        policy.learn(cut(block, o, min(o + 7, len(block))))
    shown, of_items = np.repeat(x, 3, axis=0), one_hot(items.reshape(-1)).astype(np.float64)
    (mean, scale), (item_mean, item_scale) = scaling(shown), scaling(of_items)

    def outer(requests: Float64, rows: Int32) -> Float64:
        a = (one_hot(rows) - item_mean) / item_scale
        return np.stack([np.kron(one, (x - mean) / scale) for one, x in zip(a, requests, strict=True)])

    z = outer(shown, items.reshape(-1))
    expected = [textbook(z, rewards.reshape(-1), outer(np.tile(row, (7, 1)), ALL), 0.7) for row in asked]
    assert np.allclose(scores(policy, asked), expected, rtol=1e-9, atol=1e-9)


def test_in_the_shared_form_a_new_item_is_known_by_those_like_it() -> None:
    policy, request = LinUcb(1, item_features=one_hot, item_dim=5, freeze_rows=0, alpha=0.0), context([1.0])
    liked = np.array([[3], [4]] * 20, np.int32)
    policy.learn(row_block([request] * 40, liked, (liked % 3 == 0).astype(float)))
    like, unlike = policy.ucb(request, np.array([9, 10], np.int32))
    assert like > unlike + 0.3


def test_owners_of_some_items_add_up_in_the_shared_form() -> None:
    block, asked = block_of(requests(40, 7), 7)[0], requests(3, 8)
    whole, *shares = (LinUcb(DIM, item_features=one_hot, item_dim=5) for _ in range(3))
    whole.learn(block)
    for share, rows in zip(shares, (ALL[:3], ALL[3:]), strict=True):
        share.learn(only(block, rows))
    none = np.zeros(1, np.int32)
    first, second = (share.export("shared", none) for share in shares)
    replica = LinUcb(DIM, item_features=one_hot, item_dim=5)
    replica.adopt("shared", none, {name: first[name] + second[name] for name in first})
    assert np.allclose(scores(replica, asked), scores(whole, asked), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("factor", [1e6, 1e-6])
def test_features_of_any_size_give_the_same_scores(factor: float) -> None:
    x, asked = requests(60, 9), requests(5, 10)
    block, items, rewards = block_of(x, 9)
    plain, scaled, by = LinUcb(DIM), LinUcb(DIM), np.array([1, 1, *[factor] * (DIM - 2)])
    plain.learn(block)
    scaled.learn(row_block([context(row * by) for row in x], items, rewards))
    assert np.allclose(scores(scaled, asked * by), scores(plain, asked), rtol=1e-4)


@pytest.mark.parametrize("freeze_rows", [0, 10_000])
def test_features_that_repeat_each_other_or_never_vary_are_no_harm(freeze_rows: int) -> None:
    x = requests(60, 11)
    x = np.concatenate([x, x[:, 2:], np.full((60, 1), 1e6), np.zeros((60, 1)), x[:, :1]], axis=1)
    block = block_of(x, 11)[0]
    policy = LinUcb(x.shape[1], freeze_rows=freeze_rows)
    policy.learn(block)
    p = [policy.probabilities(context(row), ALL) for row in x[:9]]
    assert np.allclose(np.sum(p, axis=1), 1.0)
    assert np.isfinite(scores(policy, x[:9])).all()


def test_the_scale_of_features_is_frozen_after_so_many_impressions_whatever_the_cut() -> None:
    x = requests(50, 12)
    block = block_of(x, 12)[0]
    whole, pieces = LinUcb(DIM, freeze_rows=61), LinUcb(DIM, freeze_rows=61)
    whole.learn(block)
    for o in range(len(block)):
        pieces.learn(cut(block, o, o + 1))
    frozen = whole.export("shared", np.zeros(1, np.int32))["moments"]
    assert pack(whole.snapshot()) == pack(pieces.snapshot())
    assert whole.version == 61
    assert np.allclose(frozen[1 : 1 + DIM], np.repeat(x, 3, axis=0)[:61].sum(axis=0))


def test_items_beyond_the_arms_share_one_stay_candidates_and_get_the_next_free_one() -> None:
    policy, x = LinUcb(1, max_arms=2, freeze_rows=0, alpha=0.1), context([1.0])
    items = np.arange(6, dtype=np.int32)
    policy.learn(row_block([x] * 90, np.resize(items, (90, 1)), np.resize([1.0, 0, 1, 0, 1, 0], (90, 1))))
    ucb = policy.ucb(x, np.arange(8, dtype=np.int32))
    assert np.allclose(ucb[2:], ucb[2])  # 2 to 5 learned together, 6 and 7 are strangers
    assert ucb[0] > ucb[2] > ucb[1]
    assert policy.probabilities(x, items[1:])[1:].min() > 0
    assert {name: int(note) for name, note in policy.notes().items()} == {
        "arms": 2, "others_shown": 60, "scale_rows": 0,
    }  # fmt: skip
    policy.remove_items(items[1:2])
    policy.learn(row_block([x] * 9, np.full((9, 1), 5, np.int32), np.ones((9, 1))))
    assert policy.describe(5)["shown"] == 9


def test_a_request_whose_features_nobody_logged_teaches_nothing() -> None:
    policy = LinUcb(DIM)
    policy.learn(
        row_block([context(np.zeros(DIM)), context([np.nan] * DIM)], ALL[:4].reshape(2, 2), np.ones((2, 2)))
    )
    assert (policy.version, policy.snapshot()["rows"].tolist()) == (0, [])


def test_it_decides_in_one_call_what_its_plan_says() -> None:
    x = requests(30, 13)
    policy = LinUcb(DIM, top=3, temperature=0.5, spread=0.1, freeze_rows=130)
    policy.learn(block_of(x, 13)[0])
    candidates = np.array([5, 3, -1, 0, 2, 77], np.int32)
    for i, row in enumerate(x):
        one, other = Draws(1, str(i)), Draws(1, str(i))
        choice = policy.decide(context(row), candidates, one)
        assert choice == Policy.decide(policy, context(row), candidates, other)
        policy.learn(block_of(x[i : i + 1], i)[0])
    with pytest.raises(PolicyError, match="none of 0"):
        policy.decide(context(x[0]), candidates[:0], Draws(1, "r"))


def test_another_number_of_features_is_refused_in_deciding_in_learning_and_in_a_stored_state() -> None:
    policy, short = LinUcb(4), context(np.ones(3))
    with pytest.raises(PolicyError, match=r"\(4,\)"):
        policy.plan(short, ALL)
    with pytest.raises(PolicyError, match="width 4"):
        policy.learn(row_block([short], ALL[None, :2], np.zeros((1, 2))))
    for other in (LinUcb(3), LinUcb(4, item_features=one_hot, item_dim=5)):
        with pytest.raises(PolicyError, match="another `name`"):
            policy.restore(unpack(pack(other.snapshot())))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(attributes=("genre",)), "for the shared form"),
        (Settings(form="shared"), "name some"),
        (Settings(form="shared", attributes=("genre",), attribute_dim=64), "33 request features.*66 item"),
    ],
)
def test_a_form_that_cannot_be_is_refused_at_startup(settings: Settings, message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        build(settings, World(request_dim=33, parts={"catalogue": Catalogue()}))


def test_the_shared_form_reads_attributes_as_they_were_last_sent() -> None:
    catalogue, request = Catalogue(), context([1.0])
    settings = Settings(form="shared", attributes=("genre",), freeze_rows=0, alpha=0.0)
    policy = build(settings, World(request_dim=1, parts={"catalogue": catalogue}))
    for row, genre in enumerate(("jazz", "rock")):
        catalogue.put(row, ItemEvent(item_id=str(row), ts=1, attributes={"genre": genre}))
    policy.learn(row_block([request] * 20, np.resize(ALL[:2], (20, 1)), np.resize([1.0, 0.0], (20, 1))))
    before = policy.ucb(request, ALL[:2])
    catalogue.put(1, ItemEvent(item_id="1", ts=2, attributes={"genre": "jazz"}))
    assert before[0] > before[1]
    assert policy.ucb(request, ALL[:2]).tolist() == [before[0]] * 2


def test_partitions_share_the_arms_and_the_rows_that_the_scale_rests_on() -> None:
    policy = build(Settings(max_arms=10, freeze_rows=100), World(request_dim=3, n_partitions=3))
    assert (policy.dim, policy.max_arms, policy.freeze_rows) == (3, 4, 34)


def test_a_replica_follows_the_arm_that_items_share_after_the_scale_is_frozen() -> None:
    learner, replica = (LinUcb(DIM, max_arms=2, freeze_rows=30) for _ in range(2))
    x = requests(80, 14)
    block = block_of(x, 14)[0]
    for o in range(0, len(block), 20):
        learner.learn(cut(block, o, min(o + 20, len(block))))
        replica.apply(unpack(pack(learner.changes())))
        assert np.array_equal(scores(replica, x[:3]), scores(learner, x[:3]))
