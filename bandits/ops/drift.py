"""The places of closed slates, in order: what detectors of drift are fed."""

from __future__ import annotations

import numpy as np

from bandits.ops.arrays import Bool, Float32, Int8, Int32, Int64
from stream.ops.kinds import CLOSED

__all__ = ["closed_places"]


def closed_places(
    kind: Int8, slate: Int32, start: Int32, items: Int32, decided: Bool, explored: Bool, rewards: Float32
) -> tuple[Int64, Int32, Float32]:
    """Of each place that a policy picked itself and whose window has closed: the operation that closed it
    (n,), its item row (n,) and its reward (n,).

    Example:
        >>> one = np.array([0], np.int32), np.array([0, 3], np.int32), np.array([7, 8, -1], np.int32)
        >>> picked, rewards = np.array([True, False, True]), np.array([1, 0, 0], np.float32)
        >>> closed_places(np.array([CLOSED], np.int8), *one, np.array([True]), picked, rewards)
        (array([0]), array([7], dtype=int32), array([1.], dtype=float32))
    """
    closed = np.flatnonzero((kind == CLOSED) & (slate >= 0))
    closed = closed[decided[slate[closed]]]
    first, sizes = start[slate[closed]], np.diff(start)[slate[closed]]
    before = np.cumsum(sizes) - sizes
    places = np.arange(int(sizes.sum())) + np.repeat(first - before, sizes)
    kept = explored[places] & (items[places] >= 0)
    places = places[kept]
    return np.repeat(closed, sizes)[kept], items[places], rewards[places]
