"""Admission: rare ids stay out, counts age, and the stream costs no more memory than was said."""

from __future__ import annotations

import numpy as np
import pytest

from learners import Admission, EmbeddingTable, LearnerError, MatrixFactorisation
from learners.admission import Gate
from learners.count_filter import CountFilter, key_of
from learners.testing import organic_rows


def test_counts_are_exact_while_nothing_collides_and_never_too_low() -> None:
    counts, tight = CountFilter(width=4_096), CountFilter(width=4)
    for n in range(1, 6):
        assert {counts.sight(key) for key in range(20)} == {n}
        assert min(tight.sight(key) for key in range(20)) >= n


def test_old_sightings_are_forgotten() -> None:
    counts = CountFilter(width=64, splits=2, split_sightings=3)
    seen = [counts.sight(1) for _ in range(9)]
    assert seen == [1, 2, 3, 4, 5, 6, 4, 5, 6]


def test_a_share_of_sightings_admits_and_the_threshold_is_certain() -> None:
    entered = []
    for key in range(4_000):
        gate = Gate(Admission(rule="share", threshold=4, width=8), seed=1)
        entered.append([gate.passes(key * 7919) for _ in range(4)].index(True) + 1)
    # p = 1/4, then 2/4, then 3/4: expectations 1/4, 3/8, 9/32, 3/32 of all.
    share = np.bincount(entered, minlength=5)[1:] / 4_000
    assert np.abs(share - [0.25, 0.375, 0.28125, 0.09375]).max() < 0.03


def test_the_equal_rule_lets_95_percent_in_by_the_threshold() -> None:
    gate = Gate(Admission(rule="equal", threshold=10, width=1 << 16), seed=1)
    entered = [any(gate.passes(key * 7919) for _ in range(10)) for key in range(2_000)]
    assert abs(np.mean(entered) - 0.95) < 0.02


def test_draws_depend_on_the_id_not_on_who_came_before() -> None:
    alone, crowded = (Gate(Admission(rule="share", threshold=6), seed=3) for _ in range(2))
    first = [alone.passes(key_of("x")) for _ in range(5)]
    for key in range(50):
        crowded.passes(key)
    assert [crowded.passes(key_of("x")) for _ in range(5)] == first


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(LearnerError, match="expected one of"):
        EmbeddingTable(2, admission=Admission(rule="sometimes"))


def auc(table: EmbeddingTable, clicks: list[tuple[int, int]]) -> float:
    """Train on three quarters; how often does a click of the rest outrank one by the other camp?"""
    users = EmbeddingTable(16, seed=5)
    model = MatrixFactorisation(users, table)
    names = [f"item-{item}" for _, item in clicks]
    split = 3 * len(clicks) // 4
    for begin in range(0, split, 500):
        rows = [
            (int(users.rows([f"user-{user}"], n)[0]), int(table.rows([names[n]], n)[0]))
            for n, (user, _) in enumerate(clicks[begin : begin + 500], begin)
        ]
        model.learn(organic_rows(rows))
        table.tick(begin)
    rng = np.random.default_rng(0)
    wins = []
    for n in range(split, len(clicks)):
        other = clicks[int(rng.integers(split))][1]
        other ^= (other ^ clicks[n][1] ^ 1) & 1  # as popular as any, and of the other camp
        pair = table.find([names[n], f"item-{other}"])
        scores = np.nan_to_num(model.scores(users.row_of(f"user-{clicks[n][0]}"), pair), nan=0.0)
        wins.append(float(scores[0] > scores[1]) + 0.5 * float(scores[0] == scores[1]))
    return float(np.mean(wins))


def test_a_heavy_tail_keeps_within_its_rows_and_close_to_admit_all() -> None:
    rng = np.random.default_rng(8)
    users = rng.integers(0, 100, 20_000)
    items = np.minimum(rng.zipf(1.4, 20_000), 10**6) * 2 + users % 2
    clicks = list(zip(users.tolist(), items.tolist(), strict=True))
    everyone = EmbeddingTable(16, seed=6)
    bounded = EmbeddingTable(16, seed=6, max_rows=500, admission=Admission(rule="threshold", threshold=3))
    full, thrifty = auc(everyone, clicks), auc(bounded, clicks)
    assert len(everyone) > 1_500
    assert max(len(bounded), bounded.capacity) <= 500
    assert full > 0.7
    assert thrifty > full - 0.05
