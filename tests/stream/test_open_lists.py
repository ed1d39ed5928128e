"""Lists that are open: a block's operations at once mean what they mean one by one."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from stream.open_lists import OpenList, OpenLists
from stream.ops.kinds import CLICK, CLOSED, SHOWN
from stream.training import TrainingLists

Operation = tuple[int, int, int, float]  # kind, number of the request, place or -1, reward or rate
Named = tuple[int, int, float]  # operation, when the list that it means was opened, for how many that stands

shows = st.tuples(st.just(SHOWN), st.integers(0, 3), st.just(-1), st.sampled_from([1.0, 0.5, 0.0]))
clicks = st.tuples(st.just(CLICK), st.integers(0, 3), st.integers(0, 2), st.sampled_from([1.0, -1.0, 0.5]))
closings = st.tuples(st.just(CLOSED), st.integers(0, 3), st.just(-1), st.just(0.0))
logs = st.lists(st.lists(shows | clicks | closings, max_size=12), max_size=4)


def block_of(operations: list[Operation], ts: int) -> TrainingLists:
    """Each list has two shown items and no features; every operation has its own entry in `requests`."""
    kind, request, place, value = zip(*operations, strict=True) if operations else ((),) * 4
    rates = [v for k, v in zip(kind, value, strict=True) if k == SHOWN]
    n, n_shown = len(kind), len(rates)
    nothing = np.zeros(n_shown, np.int32)
    return TrainingLists(
        [f"r{r}" for r in request], np.array(kind, np.int8), np.arange(n, dtype=np.int32),
        np.array(place, np.int32), np.array(value, np.float64), np.zeros(n, np.bool_), ts + np.arange(n),
        ["ann"] * n_shown, [""] * n_shown, nothing + 2, nothing, nothing, np.zeros(0, "<f2"),
        np.array(rates, np.float32),
    )  # fmt: skip


def one_by_one(log: list[list[Operation]]) -> tuple[list[Named], dict[str, OpenList], int]:
    """The same by a dictionary; and what is open behind it, and how many clicks were missed."""
    lists: dict[str, OpenList] = {}
    named, n_missed = [], 0
    for o, (kind, r, place, value) in enumerate(operation for block in log for operation in block):
        request = f"r{r}"
        found = lists.get(request)
        if kind == SHOWN and (value or found is None):
            lists.pop(request, None)
            found = lists[request] = OpenList("ann", o, "", 2, 0, b"", value or 1.0)
        is_named = value > 0 if kind == SHOWN else place < 2
        if found is None or not is_named:
            n_missed += kind == CLICK
            continue
        if kind == CLICK:
            found.rate = 1.0
            found.add(place, value)
        if kind == CLOSED:
            del lists[request]
        named.append((o, found.ts, 1 / found.rate))
    return named, lists, n_missed


@given(logs)
@example([[(SHOWN, 0, -1, 0.5), (SHOWN, 1, -1, 1.0)], [(SHOWN, 0, -1, 0.0), (CLICK, 0, 0, 1.0)]])
def test_a_block_at_once_is_what_its_operations_are_one_by_one(log: list[list[Operation]]) -> None:
    lists, named, n_missed, o = OpenLists(1 << 20), [], 0, 0
    for operations in log:
        found = lists.follow(block_of(operations, o))
        of_list = zip(found.number.tolist(), found.stands_for.tolist(), strict=True)
        named += [(o + k, found.lists[n].ts, s) for k, (n, s) in enumerate(of_list) if n >= 0]
        n_missed, o = n_missed + found.n_missed, o + len(operations)
    expected, still_open, expected_missed = one_by_one(log)
    assert (named, n_missed) == (expected, expected_missed)
    assert list(lists._lists.items()) == list(still_open.items())
    again = OpenLists(1 << 20)
    again.restore(lists.snapshot())
    assert (again._lists, again.n_bytes) == (still_open, lists.n_bytes)


def test_where_room_is_short_the_oldest_close_behind_the_block() -> None:
    lists = OpenLists(2_000)
    found = lists.follow(block_of([(SHOWN, n, -1, 1.0) for n in range(4)] + [(CLICK, 0, 0, 1.0)], 0))
    assert (found.n_missed, len(lists), lists.n_closed_early) == (0, 2, 2)
    assert lists.get("r1") is None and lists.get("r2") is not None


def test_after_a_forget_the_lists_that_come_can_be_forgotten_too() -> None:
    lists = OpenLists(1 << 20)
    for n in range(2):
        lists.follow(block_of([(SHOWN, n, -1, 1.0)], 0))
        lists.forget("ann", 0)
    assert (len(lists), lists.n_bytes) == (0, 0)
