"""The kernels by hand."""

from __future__ import annotations

from typing import Any

import hnswlib
import numpy as np
import pytest

from index import GraphLayoutError
from index.builder import read_links
from index.checks import EVERYTHING
from index.memory import reserve
from index.ops.heap import keep_best, pop
from index.ops.records import ALIVE, PENDING, Rows
from index.ops.relink import pick_diverse
from index.ops.scan import allowed_share, settle
from index.ops.upkeep import most_moved, write_rows
from index.ops.vectors import exact_score, fast_score, unit_rows
from index.testing import rows_of


def rows_with(vectors: Any) -> Rows:
    """Living rows with these vectors (n, width) and nothing else."""
    n = len(vectors)
    return Rows(
        np.ascontiguousarray(vectors, np.float32),
        np.ones(n, np.float32),
        np.full(n, ALIVE, np.uint8),
        np.zeros(n, np.int32),
        np.zeros(n, np.int64),
        np.zeros(n, np.int64),
        np.zeros(n, np.float32),
    )


def test_a_heap_keeps_the_best_and_gives_the_worst_first() -> None:
    scores, rows = np.empty(3, np.float32), np.empty(3, np.int32)
    n = 0
    for row, score in enumerate([0.5, 0.9, 0.1, 0.9, 0.3]):
        n = max(n, keep_best(scores, rows, n, 3, score, row))
    order = []
    while n:
        order.append(int(rows[0]))
        n = pop(scores, rows, n)
    assert order == [0, 3, 1]


def test_of_two_rows_in_one_direction_only_the_nearer_is_picked() -> None:
    angles = np.array([0.1, 0.2, -0.3])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    out = np.empty(3, np.int32)
    scores = np.cos(angles).astype(np.float32)
    n = pick_diverse(vectors, np.ones(3, np.float32), scores, rows_of(0, 1, 2), 3, 3, out)
    assert out[:n].tolist() == [0, 2]


@pytest.mark.parametrize(
    ("bad", "fault"), [([np.nan, 1], 1), ([np.inf, 1], 1), ([0, 0], 2), ([3e38, 3e38], 0), ([1e-30, 0], 0)]
)
def test_rows_become_unit_or_say_why_not(bad: list[float], fault: int) -> None:
    raw = np.array([[3, 4], bad], np.float32)
    out = np.full((2, 2), 7, np.float32)
    assert unit_rows(raw, out) == ((1, fault) if fault else (-1, 0))
    assert out[0].tolist() == [np.float32(0.6), np.float32(0.8)]
    if not fault:
        assert np.linalg.norm(out[1]) == pytest.approx(1, abs=1e-6)


def test_the_two_scores_agree() -> None:
    x = np.random.default_rng(0).normal(size=(100, 64)).astype(np.float32)
    halves = np.full(100, 0.5, np.float32)
    for row in range(100):
        exact = exact_score(x[0], x, halves, row)
        assert fast_score(x[0], x, halves, row) == pytest.approx(exact, rel=1e-4, abs=1e-4)
        assert exact == np.float32(np.dot(x[0].astype(float), x[row].astype(float)) / 2)


def test_settling_drops_who_left_and_sorts_the_rest() -> None:
    rows = rows_with(np.eye(4, 16))
    rows.state[2] = 0
    query = np.zeros(16, np.float32)
    query[[1, 2, 3]] = 0.5, 0.9, 0.5
    out_rows, out_scores = np.empty(4, np.int32), np.empty(4, np.float32)
    n = settle(query, rows, EVERYTHING, 4, rows_of(3, 2, 0, 1), out_rows, out_scores)
    assert (out_rows[:n].tolist(), out_scores[:n].tolist()) == ([1, 3, 0], [0.5, 0.5, 0.0])
    assert allowed_share(rows, EVERYTHING, rows_of(0, 2)) == 0.5


def test_a_small_step_adds_to_the_path_and_a_jump_awaits_a_place() -> None:
    rows = rows_with(np.eye(3, 16))
    units = np.eye(16, dtype=np.float32)[[0, 0, 2]]
    units[0, 1] = 0.25
    unplaced = np.empty(3, np.int32)
    born, n = write_rows(rows_of(0, 1, 2), units, np.ones(3, np.float32), rows, 0.5, unplaced)
    assert (born, unplaced[:n].tolist()) == (0, [1])
    assert rows.moved.tolist() == [0.25, 2.0, 0.0]
    assert rows.state.tolist() == [ALIVE, ALIVE | PENDING, ALIVE]


@pytest.mark.parametrize("room", [1, 3, 10, 200])
def test_the_rows_beyond_the_bar_are_all_found(room: int) -> None:
    rows = rows_with(np.zeros((100, 16)))
    rows.moved[:] = np.random.default_rng(0).permutation(100) / 50
    out = np.empty(room, np.int32)
    n, backlog = most_moved(rows, 100, 0.5, out, 37)
    assert (n, backlog) == (min(room, 75), 75)
    assert np.array_equal(np.sort(rows.moved[out[:n]]), np.sort(rows.moved)[-n:])


def test_reserved_room_is_zero_and_costs_nothing_until_written() -> None:
    room = reserve((1 << 34,), np.float32)
    room[1 << 33] = 1
    assert (room[0], room[1 << 33], room[-1]) == (0, 1, 0)


@pytest.mark.parametrize(
    "lie",
    [
        {"max_M0": 16},
        {"cur_element_count": 51},
        {"label_offset": 8},
        {"data_level0": np.zeros(50 * 156, np.uint8)},
    ],
)
def test_a_graph_of_another_layout_is_not_believed(lie: dict[str, Any]) -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    graph = hnswlib.Index("ip", 4)
    graph.init_index(50, M=16)
    graph.add_items(vectors)
    state = graph.__getstate__()
    state = state if isinstance(state, dict) else state[0]
    assert read_links(state, vectors, 16)[1].min() > 0
    with pytest.raises(GraphLayoutError, match="version"):
        read_links({**state, **lie}, vectors, 16)
