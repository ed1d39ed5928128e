"""Co-occurrence: the kernel against sums written out, bounded lists, removal."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learners import CoOccurrence, LearnerError, Pairs, ReplicaError

PAIRS = st.lists(
    st.tuples(st.integers(0, 7), st.integers(0, 7), st.integers(0, 5_000), st.integers(0, 900)).filter(
        lambda pair: pair[0] != pair[1]
    ),
    max_size=40,
)


def columns(pairs: list[tuple[int, int, int, int]]) -> Pairs:
    return Pairs(np.array([(a, b, ts, ts - gap, 0) for a, b, ts, gap in pairs], np.int64).reshape(-1, 5))


@settings(max_examples=40, deadline=None)
@given(PAIRS, st.lists(st.integers(0, 9), max_size=4, unique=True))
def test_scores_are_the_sums_of_the_formula(
    pairs: list[tuple[int, int, int, int]], recent: list[int]
) -> None:
    together = CoOccurrence(
        half_life_ms=2_000, gap_half_life_ms=300, rank_decay=0.5, smoothing=2.0, power=0.4
    )
    together.learn_pairs(columns(pairs))
    weight: dict[tuple[int, int], float] = defaultdict(float)
    degree: dict[int, float] = defaultdict(float)
    for a, b, ts, gap in pairs:
        value = 2.0 ** (-(5_000 - ts) / 2_000 - gap / 300)
        for i, j in ((a, b), (b, a)):
            weight[i, j] += value
            degree[i] += value
    expected = [
        sum(0.5**q * weight[i, j] / ((degree[i] + 2) * (degree[j] + 2)) ** 0.4 for q, i in enumerate(recent))
        for j in range(10)
    ]
    found = together.score(np.array(recent, np.int32), np.arange(10, dtype=np.int32), 5_000)
    assert np.allclose(found, expected, rtol=1e-5, atol=1e-12)
    rows, scores = together.recommend(np.array(recent, np.int32), 3, 5_000)
    assert np.allclose(scores, found[rows])
    assert not set(rows.tolist()) & set(recent)
    met = [j for j in range(10) if expected[j] > 0 and j not in recent]
    assert rows.tolist() == sorted(met, key=lambda j: (-found[j], j))[:3]


def test_a_full_list_gives_up_its_lightest_entry() -> None:
    together = CoOccurrence(slots=2)
    together.learn_pairs(columns([(0, 1, 0, 0), (0, 1, 1, 0), (0, 2, 2, 0), (0, 3, 3, 0)]))
    assert sorted(together.neighbours(0, 9)[0].tolist()) == [1, 3]


def test_old_company_fades_and_leaves() -> None:
    together = CoOccurrence(half_life_ms=10)
    together.learn_pairs(columns([(0, 1, 0, 0)]))
    together.learn_pairs(columns([(0, 2, 10_000, 0)]))
    assert together.neighbours(0, 9)[0].tolist() == [2]


def test_a_removed_item_is_in_nobodys_list() -> None:
    together = CoOccurrence()
    together.learn_pairs(columns([(0, 1, 0, 0), (0, 2, 1, 0), (1, 2, 2, 0)]))
    together.remove_items(np.array([1, 99], np.int32))
    assert together.neighbours(0, 9)[0].tolist() == [2]
    assert together.neighbours(1, 9)[0].size == 0


def test_unknown_items_go_with_nothing() -> None:
    together = CoOccurrence()
    assert together.recommend(np.array([5, -1], np.int32), 3, 0)[0].size == 0
    assert together.score(np.array([5], np.int32), np.array([1, -1], np.int32), 0).tolist() == [0.0, 0.0]


def test_other_shapes_are_refused() -> None:
    other = CoOccurrence(slots=2, half_life_ms=1_000)
    other.learn_pairs(columns([(0, 1, 0, 0), (0, 2, 0, 0)]))
    frame = other.changes()
    for follower in (CoOccurrence(slots=1, half_life_ms=1_000), CoOccurrence(slots=2, half_life_ms=999)):
        with pytest.raises(ReplicaError, match="cannot follow"):
            follower.apply(frame)
    with pytest.raises(LearnerError, match="slots >= 1"):
        CoOccurrence(slots=0)
