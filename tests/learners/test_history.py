"""Histories against the plain thing: an ordered dictionary for each user."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learners import Histories, LearnerError
from learners.testing import digest, organic_rows

CLICKS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), max_size=80)


def plain(clicks: list[tuple[int, int]], cap: int, gone: set[int]) -> dict[int, list[int]]:
    out: dict[int, list[int]] = {}
    for n, (user, item) in enumerate(clicks):
        kept = [i for i in out.get(user, []) if i != item]
        out[user] = [*kept, item][-cap:]
        if n == len(clicks) // 2:
            out = {user: [i for i in items if i not in gone] for user, items in out.items()}
    return out


@settings(max_examples=60, deadline=None)
@given(CLICKS, st.integers(1, 20), st.sets(st.integers(0, 12), max_size=4))
def test_each_user_keeps_the_last_distinct_clicks(
    clicks: list[tuple[int, int]], cap: int, gone: set[int]
) -> None:
    histories, replica = Histories(cap=cap), Histories(cap=cap)
    for n, click in enumerate(clicks):
        histories.learn(organic_rows([click], ts=[n]))
        if n == len(clicks) // 2:
            histories.remove_items(np.array(sorted(gone), np.int32))
        if n % 3 == 0:
            replica.apply(histories.changes())
    replica.apply(histories.changes())
    for user in range(4):
        expected = plain(clicks, cap, gone).get(user, [])
        assert histories.clicked(user).tolist() == replica.clicked(user).tolist() == expected
        assert histories.recent(user, 3).tolist() == expected[::-1][:3]


def test_thousands_of_entries_grow_the_pool_and_stay_whole() -> None:
    histories = Histories(cap=3_000, window=1)
    histories.learn(organic_rows([(n % 5, n) for n in range(20_000)]))
    assert histories.clicked(4).tolist() == list(range(4, 20_000, 5))[-3_000:]


def test_a_forgotten_user_leaves_nothing_and_the_memory_is_used_again() -> None:
    histories = Histories(cap=50)
    histories.learn(organic_rows([(0, 900 + n) for n in range(40)]))
    histories.remove_users(np.array([0], np.int32))
    used = int(histories._used[0])
    assert not (histories._pool >= 900).any()
    histories.learn(organic_rows([(1, n) for n in range(40)]))
    assert histories._used[0] == used
    assert histories.clicked(0).size == 0


def test_pairs_list_the_newest_others_first() -> None:
    pairs = Histories(window=2).learn(organic_rows([(0, 1), (0, 2), (0, 3), (0, 4)], ts=[10, 20, 30, 40]))
    assert list(zip(pairs.item.tolist(), pairs.other.tolist(), pairs.rank.tolist(), strict=True)) == [
        (2, 1, 0), (3, 2, 0), (3, 1, 1), (4, 3, 0), (4, 2, 1),
    ]  # fmt: skip
    assert (pairs.ts - pairs.other_ts).tolist() == [10, 10, 20, 10, 20]


def test_unadmitted_rows_enter_no_history() -> None:
    histories = Histories()
    before = digest(histories.snapshot())
    assert len(histories.learn(organic_rows([(-1, 3), (2, -1)]))) == 0
    assert digest(histories.snapshot()) == before


def test_a_cap_of_nothing_is_refused() -> None:
    with pytest.raises(LearnerError, match="cap >= 1"):
        Histories(cap=0)
