"""Popularity: forward decay equals the sum it stands for, and the top list is exact."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learners import LearnerError, Popularity, ReplicaError
from learners.testing import organic_rows

CLICKS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 20_000)), max_size=60)


@settings(max_examples=40, deadline=None)
@given(CLICKS)
def test_scores_are_the_decayed_sums(clicks: list[tuple[int, int]]) -> None:
    popular = Popularity(half_lives_ms=(50, 3_000))
    popular.learn(organic_rows([(0, item) for item, _ in clicks], ts=[ts for _, ts in clicks]))
    for h, half_life in enumerate(popular.half_lives_ms):
        expected = np.zeros(10)
        for item, ts in clicks:
            expected[item] += 2.0 ** (-(20_000 - ts) / half_life)
        found = popular.scores(20_000, h, np.arange(10, dtype=np.int32))
        assert np.allclose(found, expected, rtol=1e-9, atol=1e-200)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=80), st.lists(st.integers(0, 30), max_size=4))
def test_the_small_pool_and_a_pass_over_all_rows_agree(items: list[int], removed: list[int]) -> None:
    popular = Popularity(half_lives_ms=(7,), pool=3)
    for n, item in enumerate(items):
        popular.learn(organic_rows([(0, item)], ts=[n]))
        if n == len(items) // 2:
            popular.remove_items(np.array(removed, np.int32))
    everything = popular.top(100, 0)
    assert popular.top(3, 0).tolist() == everything[:3].tolist()
    scores = popular.scores(len(items), 0, everything)
    assert (np.diff(scores) <= 0).all()


def test_years_of_silence_neither_overflow_nor_leave_dust() -> None:
    popular = Popularity(half_lives_ms=(1_000,))
    popular.learn(organic_rows([(0, 0), (0, 1)], ts=[0, 10**11]))
    assert popular.scores(10**11, 0, np.array([0, 1], np.int32)).tolist() == [0.0, 1.0]
    assert popular.top(5, 0).tolist() == [1]


def test_it_remembers_when_an_item_was_clicked_first_and_last() -> None:
    popular = Popularity(half_lives_ms=(10,))
    popular.learn(organic_rows([(0, 2)] * 3, ts=[30, 50, 40]))
    assert (popular.clicks[2], popular.first_at[2], popular.last_at[2]) == (3, 30, 50)


def test_other_half_lives_cannot_be_followed() -> None:
    other = Popularity(half_lives_ms=(6,))
    other.learn(organic_rows([(0, 2)]))
    with pytest.raises(ReplicaError, match="half-lives"):
        Popularity(half_lives_ms=(5,)).apply(other.changes())
    with pytest.raises(LearnerError, match="at least 1 ms"):
        Popularity(half_lives_ms=())


VOTES = st.lists(st.tuples(st.integers(0, 9), st.sampled_from([1.0, 1.0, -1.0])), min_size=1, max_size=80)


@settings(max_examples=40, deadline=None)
@given(VOTES, st.integers(1, 5))
def test_the_pool_stays_exact_while_dislikes_take_rows_out_of_it(
    votes: list[tuple[int, float]], cut: int
) -> None:
    popular, model = Popularity(half_lives_ms=(10**9,), pool=3), np.zeros(10)
    for n in range(0, len(votes), cut):
        some = votes[n : n + cut]
        pairs, rewards = [(0, item) for item, _ in some], [vote for _, vote in some]
        popular.learn(organic_rows(pairs, ts=[0] * len(some), rewards=rewards))
        np.add.at(model, [item for item, _ in some], [vote for _, vote in some])
        best = sorted(np.flatnonzero(model > 0), key=lambda row: (-model[row], row))[:3]
        assert model[popular.top(3, 0)].tolist() == [model[row] for row in best]
