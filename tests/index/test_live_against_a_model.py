"""Any history of writes: the live index answers like a dictionary of vectors.

What it answers is always right: rows that are there and allowed, with their exact scores, in order, and as
many as were asked for; where all rows are scanned, exactly the oracle's. That they are *nearest* is what a
walk does not promise: a row may lose its last link until it moves or the graph is built anew. So that is
asked of a whole history, not of every answer.
"""

from __future__ import annotations

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from index import ExactIndex, LiveIndex, LiveSettings

DIM = 4
SCANNED = 20  # up to four times the rows asked for, nothing walks and everything is exact
ROWS = st.lists(st.integers(0, 60), min_size=1, max_size=20)


class AnyHistory(RuleBasedStateMachine):
    """The oracle gets the same writes; the live index walks a graph from nine rows on."""

    def __init__(self) -> None:
        super().__init__()
        self.live = LiveIndex(DIM, 1000, LiveSettings(exact_below=8, max_pending=6))
        self.oracle = ExactIndex(DIM, 1000)
        self.rng = np.random.default_rng(0)
        self.n_found = self.n_asked = 0

    @rule(rows=ROWS, scale=st.sampled_from([0.01, 1.0]))
    def upsert(self, rows: list[int], scale: float) -> None:
        vectors = self.rng.normal(size=(len(rows), DIM)) * scale + 1.0
        for index in (self.live, self.oracle):
            index.upsert(np.array(rows), vectors.astype(np.float32))

    @rule(rows=ROWS)
    def remove(self, rows: list[int]) -> None:
        assert self.live.remove(np.array(rows)) == self.oracle.remove(np.array(rows))

    @rule(rows=ROWS, group=st.integers(0, 2))
    def set_group(self, rows: list[int], group: int) -> None:
        for index in (self.live, self.oracle):
            index.set_attributes(np.array(rows), group=np.full(len(rows), group, np.int32))

    @rule(budget=st.integers(1, 40))
    def relink(self, budget: int) -> None:
        self.live.relinker.run(budget_rows=budget)

    @rule()
    def rebuild(self) -> None:
        self.live.rebuild()

    @rule()
    def restart(self) -> None:
        frame = self.live.snapshot()
        self.live = LiveIndex(DIM, 1000, self.live.settings)
        self.live.restore(frame)

    @invariant()
    def answers_are_rows_of_the_oracle(self) -> None:
        assert self.live.size == self.oracle.size
        query = self.rng.normal(size=DIM).astype(np.float32)
        for groups in (None, np.array([1], np.int32)):
            live = self.live.search(query, 5, groups=groups)
            every = self.oracle.search(query, 1_000, groups=groups)
            score_of = dict(zip(every.rows.tolist(), every.scores.tolist(), strict=True))
            assert live.rows.size == min(5, every.rows.size)
            assert [score_of.get(row) for row in live.rows.tolist()] == live.scores.tolist()
            assert (np.diff(live.scores) <= 0).all()
            if self.live.size <= SCANNED:
                assert live.rows.tolist() == every.rows[:5].tolist()  # ties and order included
            self.n_found += np.isin(live.rows, every.rows[:5]).sum()
            self.n_asked += live.rows.size

    def teardown(self) -> None:
        assert self.n_asked - self.n_found <= 2 + 0.05 * self.n_asked


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)
