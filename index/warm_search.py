"""Compile before listening."""

from __future__ import annotations

import numpy as np

from index.checks import EVERYTHING
from index.live import LiveIndex
from index.settings import LiveSettings

__all__ = ["warm_up"]


def warm_up(dim: int = 16) -> None:
    """Compile every kernel of the room, or load it from the cache: some 15 s the first time on a machine,
    then 1 s.

    Goes through all that a live index does, on a tiny one; kernels serve any dimension.
    """
    index = LiveIndex(dim, 1024, LiveSettings(exact_below=32, max_pending=8))
    rng = np.random.default_rng(0)
    rows = np.arange(128, dtype=np.int32)
    vectors = rng.normal(size=(128, dim)).astype(np.float32)
    index.upsert(rows, vectors)
    index.upsert(rows[:64], vectors[64:])
    index.upsert(rows[:16] + 128, vectors[:16])
    index.remove(rows[100:])
    index.set_attributes(rows, group=rows, from_ms=rows.astype(np.int64))
    index.relinker.run()
    index.search(vectors[0], 3)
    index.search(vectors[0], 3, groups=rows[:64], now_ms=1, allowed=np.ones(128, np.bool_))
    index.search(vectors[0], 128)
    index.table.scan(np.zeros(dim, np.float32) + np.float32(0.25), EVERYTHING, 3, exact=True)
