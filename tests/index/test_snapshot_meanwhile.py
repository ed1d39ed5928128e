"""A snapshot is taken while vectors come, move and go."""

from __future__ import annotations

import threading

import numpy as np

from index import LiveIndex, LiveSettings


def test_a_snapshot_under_writes_can_be_restored() -> None:
    rng = np.random.default_rng(0)
    settings = LiveSettings(exact_below=50)
    index = LiveIndex(8, 20_000, settings, background=True)
    vectors = rng.normal(size=(12_000, 8)).astype(np.float32)
    index.upsert(np.arange(6_000), vectors[:6_000])
    index.rebuild()
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            rows = rng.integers(0, 12_000, 300)
            index.upsert(rows, vectors[rows])
            index.remove(rng.integers(0, 12_000, 100))

    writer = threading.Thread(target=write)
    writer.start()
    frames = [index.snapshot() for _ in range(5)]
    done.set()
    writer.join()
    for frame in frames:
        other = LiveIndex(8, 20_000, settings, background=True)
        other.restore(frame)
        alive = other.table.alive()
        for row in alive[:: max(1, alive.size // 20)].tolist():
            assert other.search(vectors[row], 1).rows.tolist() == [row]
