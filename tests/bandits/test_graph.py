"""The cluster-item graph: who may be served, and that nobody new is crowded out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bandits import (
    DEFAULT_CLUSTER,
    Centroids,
    ClusterItemGraph,
    Context,
    DiagLinUcb,
    Draws,
    PolicyError,
    build_slate,
    warm_up,
)
from bandits.ops.arrays import Float32
from bandits.ops.diagonal import ucb_scores
from bandits.ops.graph import exclude, union
from bandits.ops.placing import _best_first, next_known
from bandits.ops.slate import fill_by_rule
from bandits.worlds import row_block
from stream.frame import pack, unpack

DIM = 8


def users(n: int, seed: int = 0, spots: int = 6) -> Float32:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(spots, DIM))
    return (centres[rng.integers(spots, size=n)] + 0.1 * rng.normal(size=(n, DIM))).astype(np.float32)


def grown(**settings: Any) -> tuple[Centroids, ClusterItemGraph]:
    centroids = Centroids(DIM, max_clusters=6, split_after=8)
    centroids.observe(users(500))
    return centroids, ClusterItemGraph(centroids, **settings)


def show(graph: ClusterItemGraph, rows: list[int], reward: float = 0.0) -> None:
    nobody = Context(np.zeros(1, np.int32), np.ones(1, np.float32))
    graph.learn(row_block([nobody], np.array([rows], np.int32), np.full((1, len(rows)), reward)))


def digest(graph: ClusterItemGraph) -> bytes:
    return pack(graph.snapshot())


def all_edges(graph: ClusterItemGraph, n: int) -> list[list[int]]:
    return [graph.clusters_of(row).tolist() for row in range(n)]


def test_a_new_item_has_edges_to_its_nearest_centroids_at_once() -> None:
    centroids, graph = grown(max_clusters=3)
    vector = users(1, seed=5)[0]
    graph.add_item(9, vector)
    nearest = centroids.ids[np.argsort(-(centroids.vectors @ vector))[:2]]
    assert graph.clusters_of(9).tolist() == sorted([DEFAULT_CLUSTER, *nearest.tolist()])
    assert graph.candidates(nearest[:1]).tolist() == [9]


def test_an_item_without_a_usable_vector_goes_where_the_fewest_are() -> None:
    centroids, graph = grown(max_clusters=2)
    for row, vector in enumerate((None, np.zeros(DIM, np.float32), np.full(DIM, np.nan, np.float32))):
        graph.add_item(row, vector)
    assert all_edges(graph, 3) == [[DEFAULT_CLUSTER, int(c)] for c in centroids.ids[:3]]


def test_neither_side_ever_has_more_edges_than_allowed() -> None:
    centroids, graph = grown(max_items=5, max_clusters=3)
    for row, vector in enumerate(users(200, seed=1)):
        graph.add_item(row, vector)
        show(graph, [row])
    members = [graph.candidates(np.array([c], np.int32)).size for c in [0, *centroids.ids]]
    assert max(members) <= 5
    assert max(len(edges) for edges in all_edges(graph, 200)) <= 3
    assert len(graph) == sum(members) == sum(len(edges) for edges in all_edges(graph, 200))


def test_a_new_item_is_never_crowded_out_before_its_first_impression() -> None:
    _, graph = grown(max_items=4, max_clusters=3, quota=2)
    for row, vector in enumerate(users(100, seed=1)):
        before = [r for r in range(row) if graph.clusters_of(r).size and not graph._shown[r]]
        graph.add_item(row, vector)
        if row % 2:
            show(graph, [row])
        assert all(graph.clusters_of(r).size for r in before)


def test_an_item_that_found_no_place_is_placed_when_others_have_been_seen() -> None:
    _, graph = grown(max_items=2, max_clusters=2)
    vectors = users(60, seed=1)
    for row, vector in enumerate(vectors):
        graph.add_item(row, vector)
    assert graph.waiting > 0
    for _ in range(60):
        show(graph, [r for r in range(60) if graph.clusters_of(r).size])
        graph.refresh(vectors)
    assert graph.waiting == 0
    assert (graph._shown[:60] > 0).all()


def test_refresh_moves_edges_to_where_the_vectors_moved_a_bounded_number_a_call() -> None:
    _, graph = grown(max_clusters=2)
    old, new = users(40, seed=1), users(40, seed=2)
    for row, vector in enumerate(old):
        graph.add_item(row, vector)
    before = all_edges(graph, 40)
    graph.refresh(new, budget=10)
    assert all_edges(graph, 40)[10:] == before[10:]
    for _ in range(3):
        graph.refresh(new, budget=10)
    assert all_edges(graph, 40) == [
        sorted([0, int(graph.centroids.ids[(graph.centroids.vectors @ v).argmax()])]) for v in new
    ]


def test_the_best_are_those_of_a_stable_sort() -> None:
    rng, order = np.random.default_rng(1), np.empty(20, np.int32)
    for n in (1, 3, 20):
        for _ in range(30):
            keys = rng.integers(0, 8, 20).astype(np.float32)
            _best_first(keys, order, n)
            assert order[:n].tolist() == np.argsort(-keys, kind="stable")[:n].tolist()


def test_a_refresh_goes_round_all_known_items_from_where_it_stopped() -> None:
    known, cursor = np.isin(np.arange(50), [3, 4, 9, 30, 41]), 0
    rounds = []
    for _ in range(4):
        rows = next_known(known, 40, cursor, 3)
        cursor = int(rows[-1]) + 1
        rounds.append(rows.tolist())
    assert rounds == [[3, 4, 9], [30, 3, 4], [9, 30, 3], [4, 9, 30]]
    assert next_known(known, 40, 0, 99).tolist() == [3, 4, 9, 30]
    assert next_known(known, 3, 7, 2).size == 0


def test_vectors_of_another_length_are_refused() -> None:
    _, graph = grown()
    with pytest.raises(PolicyError, match=r"\(8,\)"):
        graph.add_item(1, np.ones(3, np.float32))
    with pytest.raises(PolicyError, match=r"\(n, 8\)"):
        graph.refresh(np.ones((4, 3), np.float32))
    assert len(graph) == 0


def test_a_removed_item_has_no_edge_and_its_row_starts_anew() -> None:
    _, graph = grown()
    graph.add_item(3, users(1)[0])
    show(graph, [3])
    graph.remove_items(np.array([3, 99], np.int32))
    assert (len(graph), graph.clusters_of(3).size) == (0, 0)
    graph.add_item(3)
    assert graph._fresh[3]


def test_the_default_cluster_keeps_what_everybody_likes() -> None:
    _, graph = grown(max_items=4, max_clusters=2)
    vectors = users(30, seed=1)
    for row, vector in enumerate(vectors):
        graph.add_item(row, vector)
        show(graph, [row], reward=float(row in (3, 17)))
        graph.refresh(vectors)
    assert {3, 17} <= set(graph.candidates(np.array([DEFAULT_CLUSTER], np.int32)).tolist())


def test_a_newborn_cluster_starts_with_its_parents_items_and_a_dead_one_leaves_no_edge() -> None:
    centroids = Centroids(DIM, max_clusters=3, split_after=4, review_after=64)
    graph = ClusterItemGraph(centroids)
    centroids.observe(users(1, seed=1))
    for row in range(5):
        graph.add_item(row, users(1, seed=1)[0])
    for seed in range(2, 12):
        centroids.observe(users(640, seed=seed, spots=2))
        graph.refresh(np.zeros((5, DIM), np.float32))
        linked = {c for edges in all_edges(graph, 5) for c in edges}
        assert linked == {0, *centroids.ids.tolist()}
    assert centroids.ids.max() > 3, "no centroid died in this test"


def test_a_replica_follows_and_a_snapshot_resumes() -> None:
    centroids, graph = grown(max_items=5, max_clusters=3)
    replica, vectors = ClusterItemGraph(centroids, max_items=5, max_clusters=3), users(60, seed=1)
    for row, vector in enumerate(vectors):
        graph.add_item(row, vector)
        show(graph, [row])
        if row % 7 == 0:
            graph.remove_items(np.array([row // 2], np.int32))
        replica.apply(unpack(pack(graph.changes())))
    every = np.arange(0, centroids.ids.max() + 1, dtype=np.int32)
    assert replica.candidates(every).tolist() == graph.candidates(every).tolist()
    assert all_edges(replica, 60) == all_edges(graph, 60)
    resumed = ClusterItemGraph(centroids, max_items=5, max_clusters=3)
    resumed.restore(unpack(digest(graph)))
    for one in (graph, resumed):
        one.refresh(vectors, budget=7)
        one.add_item(99, vectors[0])
    assert digest(resumed) == digest(graph)


def test_on_a_replica_clusters_wait_for_their_centroids_and_a_restart_keeps_them() -> None:
    centroids, graph = grown(max_items=5, max_clusters=3)
    graph.add_items(np.arange(4, dtype=np.int32), users(4))
    unborn = Centroids(DIM, max_clusters=6)
    replica, again = ClusterItemGraph(unborn, max_items=5), ClusterItemGraph(unborn, max_items=5)
    replica.apply(graph.changes())
    again.restore(unpack(digest(replica)))
    every = np.arange(0, centroids.ids.max() + 1, dtype=np.int32)
    assert replica.candidates(every).tolist() == replica.candidates(every[:1]).tolist()
    unborn.restore(centroids.snapshot())
    for cluster in every.tolist():
        own = graph.candidates(np.array([cluster], np.int32)).tolist()
        for one in (replica, again):
            assert one.candidates(np.array([cluster], np.int32)).tolist() == own
    assert all_edges(again, 4) == all_edges(graph, 4)


def test_reading_writes_nothing_and_unknown_clusters_have_no_items() -> None:
    _, graph = grown()
    graph.add_item(1)
    before = digest(graph)
    assert graph.candidates(np.array([-1, 77, 10**6], np.int32)).size == 0
    assert graph.clusters_of(10**6).size == 0
    assert digest(graph) == before


def test_a_setting_out_of_range_is_refused() -> None:
    with pytest.raises(PolicyError, match="max_clusters >= 2"):
        ClusterItemGraph(Centroids(DIM), max_clusters=1)


def test_after_warming_up_a_decision_compiles_nothing() -> None:
    warm_up()
    kernels: list[Any] = [fill_by_rule, ucb_scores, union, exclude]
    before = [len(kernel.signatures) for kernel in kernels]
    centroids, graph = grown()
    graph.add_item(3)
    policy, context = DiagLinUcb(graph), Context(*centroids.context(users(1)[0]))
    own = graph.candidates(context.clusters)
    build_slate(own, policy, own, context, epsilon=0.1, k=1, draws=Draws(1, "r"))
    assert [len(kernel.signatures) for kernel in kernels] == before
