"""Diag-LinUCB: what a system must do to count as having it, one test each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandits import (
    Centroids,
    ClusterItemGraph,
    Context,
    DiagLinUcb,
    Draws,
    LinUcb,
    PolicyError,
    Reach,
    build_slate,
)
from bandits.ops.arrays import Float64
from bandits.testing import cut
from bandits.worlds import BernoulliWorld, play, row_block
from learners.rows import RowBlock
from stream.blocks import SHOWN

N_ITEMS, N_CLUSTERS = 12, 20


def random_block(seed: int, n: int = 30, k: int = 4, n_items: int = N_ITEMS) -> RowBlock:
    rng = np.random.default_rng(seed)
    contexts = [random_context(rng, k) for _ in range(n)]
    items = np.stack([rng.permutation(n_items)[:3] for _ in range(n)]).astype(np.int32)
    return row_block(contexts, items, rng.choice([0.0, 0.0, 1.0, -0.5], (n, 3)))


def random_context(rng: np.random.Generator, k: int) -> Context:
    clusters = rng.choice(N_CLUSTERS, k, replace=False).astype(np.int32)
    return Context(clusters, rng.dirichlet(np.ones(k)).astype(np.float32))


def table(policy: DiagLinUcb) -> dict[tuple[int, int], tuple[float, float]]:
    edges = {row: policy.edges(row) for row in range(N_ITEMS)}
    return {
        (row, int(c)): (float(b), float(d))
        for row, (clusters, bs, ds) in edges.items()
        for c, b, d in zip(clusters, bs, ds, strict=True)
    }


def assert_same_sums(left: DiagLinUcb, right: DiagLinUcb) -> None:
    ours, theirs = table(left), table(right)
    assert ours.keys() == theirs.keys()
    assert np.allclose(list(ours.values()), [theirs[key] for key in ours], rtol=0, atol=1e-9)


def learned(*blocks: RowBlock) -> DiagLinUcb:
    policy = DiagLinUcb()
    for block in blocks:
        policy.learn(block)
    return policy


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4))
def test_any_order_any_sharding_and_any_merge_give_the_same_sums(seed: int, n_shards: int) -> None:
    block, rng = random_block(seed), np.random.default_rng(seed)
    order = rng.permutation(len(block))
    shards = [DiagLinUcb() for _ in range(n_shards)]
    for o in order:
        shards[int(rng.integers(n_shards))].learn(cut(block, int(o), int(o) + 1))
    merged = DiagLinUcb()
    for shard in rng.permutation(n_shards):
        merged.merge(shards[int(shard)])
    assert_same_sums(learned(block), merged)


def test_the_sums_are_those_of_the_equations() -> None:
    context = Context(np.array([3, 8], np.int32), np.array([0.75, 0.25], np.float32))
    policy = learned(row_block([context, context], np.array([[5], [5]], np.int32), np.array([[1.0], [0.0]])))
    clusters, b, d = policy.edges(5)
    assert (clusters.tolist(), b.tolist(), d.tolist()) == (
        [3, 8],
        [0.75, 0.25],
        [1 + 2 * 0.5625, 1 + 2 * 0.0625],
    )


def dense_scores(block: RowBlock, context: Context, alpha: float) -> Float64:
    """LinUCB over all clusters with A forced diagonal, one number after the other."""
    diagonals, sums = np.ones((N_ITEMS, N_CLUSTERS)), np.zeros((N_ITEMS, N_CLUSTERS))
    for o in range(len(block)):
        s = int(block.slate[o])
        x = np.zeros(N_CLUSTERS)
        x[block.clusters[s]] = block.weights[s]
        if block.kind[o] == SHOWN:
            diagonals[block.items[block.start[s] : block.start[s + 1]]] += x * x
        else:
            sums[block.items[block.place[o]]] += block.reward[o] * x
    x = np.zeros(N_CLUSTERS)
    x[context.clusters] = context.weights
    scores: Float64 = (sums / diagonals) @ x + alpha * np.sqrt((1.0 / diagonals) @ (x * x))
    return scores


@pytest.mark.parametrize("seed", range(5))
def test_scores_equal_a_dense_linucb_with_its_covariance_forced_diagonal(seed: int) -> None:
    block, rng = random_block(seed), np.random.default_rng(seed)
    policy, context = DiagLinUcb(alpha=0.8), random_context(rng, 4)
    policy.learn(block)
    ours = policy.ucb(context, np.arange(N_ITEMS, dtype=np.int32))
    assert np.allclose(ours, dense_scores(block, context, 0.8), rtol=1e-12)


def test_with_one_cluster_a_request_it_is_full_linucb() -> None:
    block, everything = random_block(3, k=1), np.arange(N_ITEMS, dtype=np.int32)
    diag, full = DiagLinUcb(alpha=0.8), LinUcb(N_CLUSTERS, source="clusters", alpha=0.8)
    diag.learn(block)
    full.learn(block)
    for cluster in range(N_CLUSTERS):
        context = Context(np.array([cluster], np.int32), np.ones(1, np.float32))
        assert np.allclose(diag.ucb(context, everything), full.ucb(context, everything), rtol=1e-10)


def test_an_item_without_feedback_outranks_all_until_one_impression_without_a_click() -> None:
    policy, context = learned(random_block(1)), random_context(np.random.default_rng(1), 4)
    rows = np.arange(N_ITEMS + 2, dtype=np.int32)
    assert policy.probabilities(context, rows)[-2:].tolist() == [0.5, 0.5]
    policy.learn(row_block([context], rows[-2:-1, None], np.zeros((1, 1))))
    assert np.isinf(policy.ucb(context, rows)).tolist() == [False] * (N_ITEMS + 1) + [True]


def test_an_impression_on_its_way_ends_the_infinite_bonus_and_is_forgotten_if_it_never_comes() -> None:
    policy, context, row = DiagLinUcb(), random_context(np.random.default_rng(1), 4), np.array([3], np.int32)
    policy.served(row)
    assert np.isfinite(policy.ucb(context, row)).all()
    policy.age_pending()
    policy.age_pending()
    assert np.isinf(policy.ucb(context, row)).all()


def test_an_item_without_an_edge_is_never_served() -> None:
    centroids = Centroids(2)
    centroids.observe(np.eye(2, dtype=np.float32))
    graph = ClusterItemGraph(centroids)
    graph.add_item(4, np.ones(2, np.float32))
    policy, context = DiagLinUcb(graph), Context(*centroids.context(np.ones(2, np.float32)))
    offered = np.array([7, 4, 9], np.int32)
    assert policy.probabilities(context, offered).tolist() == [0.0, 1.0, 0.0]
    own = policy.reach(context)
    assert own is not Reach.OFFERED and own is not Reach.EVERYTHING
    slate = build_slate(offered[:0], policy, offered, context, epsilon=1.0, k=3, draws=Draws(1, "r"))
    assert (own.tolist(), slate.items.tolist()) == ([4], [4])
    with pytest.raises(PolicyError, match="none of 1 offered"):
        policy.decide(context, offered[:1], Draws(1, "r"))


def test_the_update_uses_the_logged_weights() -> None:
    block = random_block(1)
    heavier = replace(block, weights=block.weights * np.float32(2))
    _, b, _ = learned(block).edges(int(block.items[0]))
    assert np.allclose(learned(heavier).edges(int(block.items[0]))[1], 2 * b)


def test_a_decision_without_clusters_still_counts_as_served() -> None:
    nobody = Context(np.array([-1], np.int32), np.zeros(1, np.float32))
    policy = learned(row_block([nobody], np.array([[5]], np.int32), np.zeros((1, 1))))
    assert policy.shown(np.array([5, 6, -1], np.int32)).tolist() == [1, 0, 0]


def test_a_stale_table_does_not_give_one_item_all_traffic() -> None:
    world, policy = BernoulliWorld(8, seed=2), DiagLinUcb()
    play(world, policy, 500, seed=2)
    shares = np.sort(policy.probabilities(world.context(0), np.arange(8, dtype=np.int32)))[::-1]
    assert shares[0] <= 0.97
    assert (shares[:5] >= 0.05 / 5).all()


def test_a_delay_costs_reward_and_randomising_limits_it() -> None:
    worlds = [(BernoulliWorld(8, seed=s), s) for s in range(4)]
    at_once, late = (
        sum(play(w, DiagLinUcb(), 1_500, seed=s, every=e).regret.sum() for w, s in worlds) for e in (1, 300)
    )
    assert at_once < late
    assert late < sum(1_500 * (0.6 - w.rates(w.context(0)).mean()) for w, _ in worlds)


def test_a_retired_cluster_is_dropped_and_its_late_feedback_ignored() -> None:
    policy, block = learned(random_block(1)), random_block(1)
    gone = np.array([3, 4], np.int32)
    policy.centroids_gone(gone)
    policy.learn(block)
    assert not {c for _, c in table(policy)} & {3, 4}
    kept = {key: value for key, value in table(learned(block, block)).items() if key[1] not in (3, 4)}
    assert table(policy) == kept


def test_the_exploit_score_has_no_bonus() -> None:
    policy, context = learned(random_block(1)), random_context(np.random.default_rng(1), 4)
    rows = np.arange(N_ITEMS + 1, dtype=np.int32)
    without = DiagLinUcb(alpha=0.0)
    without.restore(policy.snapshot())
    assert policy.means(context, rows)[:-1].tolist() == without.ucb(context, rows)[:-1].tolist()
    assert policy.means(context, rows)[-1] == 0.0


@pytest.mark.parametrize("wrong", [{"alpha": -1.0}, {"top": 0}, {"temperature": -0.1}, {"spread": 2.0}])
def test_a_setting_out_of_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(PolicyError, match=next(iter(wrong))):
        DiagLinUcb(**wrong)  # type: ignore[arg-type]
