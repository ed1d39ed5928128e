"""The contract kit of this room: blocks from a few numbers, and what every learner must pass."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from learners.rows import RowBlock

__all__ = ["organic_rows"]


def organic_rows(pairs: Sequence[tuple[int, int]], ts: Sequence[int] | None = None) -> RowBlock:
    """A block of organic clicks on (user row, item row), at `ts` (0, 1, 2, ... ms if not given).

    Example:
        >>> organic_rows([(0, 3), (1, 4)]).item
        array([3, 4], dtype=int32)
    """
    n = len(pairs)
    none, floats = np.zeros(0, np.int32), np.zeros(0, np.float32)
    table = np.array(pairs, np.int32).reshape(-1, 2)
    return RowBlock(
        slate_user=none,
        slate_ts=np.zeros(0, np.int64),
        start=np.zeros(1, np.int32),
        clusters=np.zeros((0, 1), np.int32),
        weights=np.zeros((0, 1), np.float32),
        decided=np.zeros(0, np.bool_),
        policy=np.zeros(0, np.int8),
        items=none,
        propensity=floats,
        rewards=floats,
        features=np.zeros((0, 0), np.float32),
        explored=np.zeros(0, np.bool_),
        other_start=np.zeros(1, np.int32),
        other_items=none,
        other_features=np.zeros((0, 0), np.float32),
        kind=np.full(n, 3, np.int8),
        slate=np.full(n, -1, np.int32),
        place=np.full(n, -1, np.int32),
        user=np.ascontiguousarray(table[:, 0]),
        item=np.ascontiguousarray(table[:, 1]),
        reward=np.ones(n),
        first=np.ones(n, np.bool_),
        ts=np.arange(n, dtype=np.int64) if ts is None else np.array(ts, np.int64),
    )
