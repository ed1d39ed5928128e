"""The table: no two ids share a row, unknown ids cost nothing, and it stays within its bound."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learners import Admission, Counts, EmbeddingTable, LearnerError, ReplicaError, ShapeError, Vectors

NAMES = [f"n{i}" for i in range(12)]
ACTIONS = st.lists(
    st.tuples(st.sampled_from(["rows", "remove", "set", "tick"]), st.sampled_from(NAMES)), max_size=60
)


@settings(max_examples=60, deadline=None)
@given(ACTIONS)
def test_it_behaves_like_a_dictionary_of_vectors(actions: list[tuple[str, str]]) -> None:
    table = EmbeddingTable(2, initial_rows=1)
    start = dict(zip(NAMES, EmbeddingTable(2).vectors(NAMES), strict=True))
    fresh = EmbeddingTable(2)
    fresh.rows(NAMES, 0)
    start = {name: fresh.vectors([name])[0] for name in NAMES}
    model: dict[str, Any] = {}
    for n, (action, name) in enumerate(actions):
        if action == "rows":
            table.rows([name], n)
            model.setdefault(name, start[name])
        elif action == "remove":
            table.remove([name])
            model.pop(name, None)
        elif action == "set" and name in model:
            model[name] = np.array([n, -n], np.float32)
            table.set_vectors(table.find([name]), model[name][None])
        elif action == "tick":
            table.tick(n)
        for known in NAMES:
            assert np.array_equal(table.vectors([known])[0], model.get(known, np.zeros(2)))
        rows = table.find(list(model)).tolist()
        assert len(set(rows)) == len(rows) == len(table)


def test_a_hundred_times_its_first_capacity_keeps_every_vector() -> None:
    table = EmbeddingTable(3, initial_rows=16)
    names = [f"id-{n}" for n in range(1_600)]
    rows = table.rows(names, 0)
    assert np.array_equal(np.sort(rows), np.arange(1_600))
    table.set_vectors(rows, np.repeat(np.arange(1_600, dtype=np.float32), 3).reshape(-1, 3))
    assert np.array_equal(table.vectors(names)[:, 0], np.arange(1_600))
    assert table.ids_of(rows) == names


def test_the_first_vector_does_not_depend_on_the_order_of_arrival() -> None:
    forward, backward = EmbeddingTable(8, seed=4), EmbeddingTable(8, seed=4)
    forward.rows(NAMES, 0)
    backward.rows(NAMES[::-1], 0)
    assert np.array_equal(forward.vectors(NAMES), backward.vectors(NAMES))
    assert np.abs(forward.vectors(NAMES)).max() > 0


def test_first_vectors_have_the_length_that_was_asked_for() -> None:
    table = EmbeddingTable(64, scale=0.5)
    table.rows([str(n) for n in range(500)], 0)
    lengths = np.linalg.norm(table.data[:500], axis=1)
    assert abs(lengths.mean() - 0.5) < 0.01


def test_ids_expire_by_event_time_and_their_rows_come_back_a_tick_later() -> None:
    table = EmbeddingTable(2, ttl_ms=100, sweep_ms=1)
    table.rows(["old"], 0)
    table.rows(["young"], 50)
    assert table.tick(100).tolist() == [0]
    assert table.rows(["next"], 100).tolist() == [2]
    table.tick(101)
    assert table.rows(["last"], 101).tolist() == [0]
    assert "old" not in table


def test_above_its_bound_the_longest_untouched_go() -> None:
    table = EmbeddingTable(2, max_rows=16)
    for n in range(20):
        table.rows([f"n{n}"], n)
    assert (len(table), table.refused) == (16, 4)
    assert table.ids_of(table.live) == [f"n{n}" for n in range(16)]
    assert table.tick(99).tolist() == [0, 1]


def test_above_its_bound_kept_rows_go_last_and_the_reserve_is_for_those_past_the_rule() -> None:
    table = EmbeddingTable(2, max_rows=32, reserve=4)
    kept = table.admit([f"kept{n}" for n in range(8)], ts=1)
    table.rows([f"seen{n}" for n in range(100)], ts=2)
    assert (len(table), table.refused) == (28, 80)
    assert (table.admit(["late1", "late2"], ts=3) >= 0).all()
    marks = np.zeros(9, np.bool_)
    marks[kept] = True
    table.tick(4, marks)
    assert len(table) == 28 and all(f"kept{n}" in table for n in range(8))
    assert "seen0" not in table and "late2" in table


def test_a_removed_row_holds_nothing_of_its_owner() -> None:
    table = EmbeddingTable(2)
    row = int(table.rows(["gone"], 7)[0])
    assert table.remove(["gone", "never there", "gone"]).tolist() == [row]
    assert not table.data[row].any()
    assert table.touched_at[row] == 0
    assert table.id_of(row) is None


def test_a_catalogue_item_enters_past_the_rule_of_admission() -> None:
    table = EmbeddingTable(2, admission=Admission(rule="threshold", threshold=9))
    assert table.rows(["a"], 0).tolist() == [-1]
    assert table.admit(["a"], 0).tolist() == [0]


def test_changes_name_only_what_was_touched() -> None:
    table, nobody = EmbeddingTable(2), EmbeddingTable(2)
    parts = table, Vectors(table, nobody), Counts(table, nobody)
    table.rows(["a", "b", "c"], 0)
    for part in parts:
        part.changes()
    table.set_vectors(table.find(["b"]), np.ones((1, 2), np.float32))
    owners, vectors, counts = (part.changes() for part in parts)
    assert vectors["user"]["rows"].tolist() == [1]
    assert not owners["new_ids"] and counts == {}


def test_wrong_vectors_are_refused() -> None:
    table = EmbeddingTable(2)
    rows = table.rows(["a"], 0)
    for bad in (np.zeros((1, 3), np.float32), np.full((1, 2), np.nan, np.float32)):
        with pytest.raises(ShapeError, match=r"finite vectors of shape \(1, 2\)"):
            table.set_vectors(rows, bad)
    with pytest.raises(ReplicaError, match="build it with dim=5"):
        table.restore(EmbeddingTable(5).snapshot())
    with pytest.raises(LearnerError, match="dim >= 1"):
        EmbeddingTable(0)
