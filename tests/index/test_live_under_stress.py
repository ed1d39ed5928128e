"""Everything at once: searches, writes, removals, linking and rebuilding from threads of their own."""

from __future__ import annotations

from threading import Event, Thread

import numpy as np
from numpy.typing import NDArray

from index import Answers, ExactIndex, LiveIndex, LiveSettings
from index.testing import planted_world, recall_of

N, DIM, N_LEFT = 3000, 32, 200


class Crowd:
    """Two versions of every vector, and threads that note whatever no version explains."""

    def __init__(self) -> None:
        self.world = planted_world(N, DIM, n_clusters=30)
        noise = np.random.default_rng(1).normal(size=(N, DIM)).astype(np.float32)
        self.versions = np.stack([self.world.vectors, self.world.vectors + np.float32(0.5) * noise])
        norms = np.linalg.norm(self.versions, axis=2, keepdims=True)
        self.units: NDArray[np.float32] = self.versions / norms
        self.index = LiveIndex(DIM, 100_000, LiveSettings(exact_below=64, max_pending=64))
        self.index.upsert(np.arange(N), self.versions[0])
        self.index.remove(np.arange(N_LEFT))
        self.stop = Event()
        self.faults: list[str] = []
        self.n_searches = 0

    def ask(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        while not self.stop.is_set():
            query = self.world.queries[rng.integers(0, 50)]
            self.check(query, self.index.search(query, 10))
            self.n_searches += 1

    def check(self, query: NDArray[np.float32], answers: Answers) -> None:
        """Each score is of one whole version of its row; no row is gone, none twice, none missing."""
        rows = answers.rows
        possible = self.units[:, rows] @ (query / np.linalg.norm(query))
        off = np.abs(possible - answers.scores).min(axis=0)
        if rows.size != 10 or np.unique(rows).size != 10:
            self.faults.append(f"rows {rows}")
        if rows.min() < N_LEFT:
            self.faults.append(f"removed row {rows.min()}")
        if off.max() > 1e-5:
            self.faults.append(f"torn row, {off.max()}")
        if (np.diff(answers.scores) > 0).any():
            self.faults.append("out of order")

    def write(self) -> None:
        rng = np.random.default_rng(7)
        while not self.stop.is_set():
            rows = rng.integers(N_LEFT, N, 50).astype(np.int32)
            self.index.upsert(rows, self.versions[rng.integers(0, 2), rows])

    def come_and_go(self) -> None:
        """Numbers above N are used and used again, far from every query."""
        far = -self.world.queries.mean(axis=0)
        while not self.stop.is_set():
            rows = np.arange(N, N + 40)
            self.index.upsert(rows, np.tile(far, (40, 1)).astype(np.float32))
            self.index.remove(rows)

    def link(self) -> None:
        while not self.stop.is_set():
            self.index.relinker.run(budget_rows=512)

    def run(self, n_rebuilds: int) -> None:
        jobs = [lambda: self.ask(1), lambda: self.ask(2), self.write, self.come_and_go, self.link]
        threads = [Thread(target=job) for job in jobs]
        for thread in threads:
            thread.start()
        while n_rebuilds > 0 or self.n_searches <= 100:
            self.index.rebuild()
            n_rebuilds -= 1
        self.stop.set()
        for thread in threads:
            thread.join()


def test_nothing_breaks_when_everything_happens_at_once() -> None:
    crowd = Crowd()
    crowd.run(n_rebuilds=3)
    assert crowd.faults == []
    assert crowd.n_searches > 100
    assert crowd.index.size == N - N_LEFT
    crowd.index.relinker.run()
    oracle = ExactIndex(DIM)
    oracle.restore(crowd.index.snapshot())
    assert recall_of(crowd.index, oracle, crowd.world.queries) > 0.97
