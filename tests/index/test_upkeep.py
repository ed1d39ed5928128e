"""Linking, rebuilding, measuring: what keeps a live index good."""

from __future__ import annotations

from threading import Event

import numpy as np
import pytest
from numpy.typing import NDArray

from index import ExactIndex, IndexInputError, LiveIndex, LiveSettings, Maintenance, RecallProbe
from index.ops.records import ALIVE, PENDING
from index.testing import planted_world, recall_of
from stream.clock import ManualClock

DIM = 16
WORLD = planted_world(6000, DIM)


def live(n: int, **more: int) -> LiveIndex:
    index = LiveIndex(DIM, 100_000, LiveSettings(exact_below=64, **more))
    index.upsert(np.arange(n), WORLD.vectors[:n])
    return index


def exact(vectors: NDArray[np.float32]) -> ExactIndex:
    index = ExactIndex(DIM)
    index.upsert(np.arange(len(vectors)), vectors)
    return index


def walk_recall(index: LiveIndex, oracle: ExactIndex) -> float:
    return recall_of(index, oracle, WORLD.queries)


def break_links(index: LiveIndex) -> None:
    """Leave every row with one link to the next: a graph as bad as a graph can be."""
    assert index.graph is not None
    n = index.size
    index.graph.links.to[:n, 0] = (np.arange(n) + 1) % n
    index.graph.links.degree[:n] = 1


def test_a_row_is_found_before_it_is_linked_and_after() -> None:
    index = live(3000)
    far = np.eye(DIM, dtype=np.float32)[:1]
    index.upsert(np.array([3000]), far)
    assert index.graph is not None
    assert index.graph.entry.pending.tolist() == [3000]
    assert index.search(far[0], 1).rows.tolist() == [3000]
    index.relinker.run()
    assert index.graph.entry.pending.size == 0
    assert index.search(far[0], 1).rows.tolist() == [3000]


def test_new_rows_beyond_the_bound_are_linked_at_once() -> None:
    index = live(3000, max_pending=16)
    for start in range(3000, 4000, 10):
        index.upsert(np.arange(start, start + 10), WORLD.vectors[start : start + 10])
    assert index.graph is not None
    assert index.graph.entry.pending.size <= 16
    assert index.n_rebuilds == 1
    assert walk_recall(index, exact(WORLD.vectors[:4000])) > 0.97


def test_the_farthest_moved_are_linked_first() -> None:
    index = live(3000)
    for row, step in ((5, 0.2), (6, 0.4), (7, 0.1)):
        moved = WORLD.vectors[row] / np.linalg.norm(WORLD.vectors[row])
        moved[row] += step
        index.upsert(np.array([row]), moved[None])
    assert index.relinker.run(budget_rows=1).backlog == 2
    path = index.table.rows.moved
    assert path[6] == 0
    assert path[5] > path[7] > 0
    assert index.relinker.run().backlog == 0


def test_recall_holds_while_every_row_wanders_by_its_own_length() -> None:
    index, vectors = live(3000), WORLD.vectors[:3000].copy()
    rng = np.random.default_rng(2)
    for _ in range(50):
        norm = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors = (vectors + 0.14 * norm * rng.normal(size=vectors.shape) / np.sqrt(DIM)).astype(np.float32)
        index.upsert(np.arange(3000), vectors)
        index.relinker.run(budget_rows=750)
    assert index.n_rebuilds == 1
    oracle = exact(vectors)
    after = walk_recall(index, oracle)
    index.rebuild()
    assert after > walk_recall(index, oracle) - 0.02


def test_a_rebuild_mends_a_broken_graph_and_keeps_what_came_meanwhile() -> None:
    index = live(5000)
    break_links(index)
    came = Event()

    def meanwhile() -> bool:
        if not came.is_set():
            came.set()
            index.upsert(np.array([5500]), WORLD.queries[:1])
            index.remove(np.arange(100))
        return True

    assert index.rebuild(proceed=meanwhile)
    assert index.size == 4901
    assert index.search(WORLD.queries[0], 1).rows.tolist() == [5500]
    oracle = ExactIndex(DIM)
    oracle.restore(index.snapshot())
    assert walk_recall(index, oracle) > 0.97


def test_a_rebuild_that_is_called_off_changes_nothing() -> None:
    index = live(3000)
    graph = index.graph
    assert not index.rebuild(proceed=lambda: False)
    assert index.graph is graph


def test_a_recall_below_the_floor_brings_a_rebuild_once() -> None:
    clock = ManualClock()
    index = live(5000)
    keeper = Maintenance(index, clock=clock, floor=1.1, probe_every_s=1.0)
    break_links(index)
    for query in WORLD.queries:
        index.search(query, 10)
    for _ in range(4):
        clock.advance_ms(1000)
        keeper.turn()
    # A floor of 1.1 cannot be reached: what a fresh build reaches stands in, so there is no rebuild for ever.
    assert index.n_rebuilds == 2
    assert keeper.figures()["recall"] > 0.97


def test_what_a_first_build_reaches_is_no_reason_to_build_again() -> None:
    clock = ManualClock()
    index = LiveIndex(DIM, 100_000, LiveSettings(exact_below=64), background=True)
    index.upsert(np.arange(5000), WORLD.vectors[:5000])
    keeper = Maintenance(index, clock=clock, floor=1.1, probe_every_s=1.0)
    assert keeper.turn()
    for _ in range(8):
        for query in WORLD.queries:
            index.search(query, 10)
    for _ in range(3):
        clock.advance_ms(1000)
        keeper.turn()
    assert (index.n_rebuilds, keeper.figures()["recall"] > 0.97) == (1, True)
    break_links(index)
    clock.advance_ms(1000)
    keeper.turn()
    assert index.n_rebuilds == 2


def test_the_thread_links_what_upsert_leaves_and_stops() -> None:
    index = live(3000)
    keeper = Maintenance(index, share=0.9)
    keeper.start()
    index.upsert(np.arange(3000, 3800), WORLD.vectors[3000:3800])
    waited = Event()
    while keeper.figures()["pending"] > 0:
        waited.wait(0.005)
    keeper.stop()
    assert keeper.figures()["relinked_rows"] >= 800
    state = index.table.rows.state[:3800]
    assert not (state & PENDING).any()
    assert (state & ALIVE).all()


def test_the_probe_measures_what_brute_force_says() -> None:
    index = live(5000)
    break_links(index)
    probe = RecallProbe(index.dim, every=1)
    for query in WORLD.queries:
        probe.observe(query / np.linalg.norm(query))
    measured = probe.measure(index)
    assert measured.n_queries == 50
    assert measured.value == pytest.approx(walk_recall(index, exact(WORLD.vectors[:5000])), abs=0.05)


def test_an_index_without_room_says_so() -> None:
    with pytest.raises(IndexInputError, match="max_rows=0"):
        LiveIndex(DIM, 0)


def test_memory_per_row_stays_near_vectors_and_links() -> None:
    assert LiveIndex(64).bytes_per_row() <= 256 + 132 + 8
