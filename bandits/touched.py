"""Which item rows were touched since somebody last asked."""

from __future__ import annotations

import numpy as np

from bandits.ops.arrays import Int32, with_room

__all__ = ["TouchedItems"]


class TouchedItems:
    """A set of rows; it holds one byte for each row of the table, and the rows once each.

    Example:
        >>> touched = TouchedItems()
        >>> touched.add(np.array([5, 2], np.int32))
        >>> touched.add(np.array([2, 3], np.int32))
        >>> touched.drain().tolist(), touched.drain().tolist()
        ([2, 3, 5], [])
    """

    def __init__(self) -> None:
        self._mask = np.zeros(0, np.bool_)
        self._parts: list[Int32] = []

    def add(self, rows: Int32) -> None:
        """Add distinct rows."""
        if rows.size == 0:
            return
        self._mask = with_room(self._mask, int(rows.max()) + 1)
        fresh = rows[~self._mask[rows]]
        if fresh.size:
            self._mask[fresh] = True
            self._parts.append(fresh.copy())

    def drain(self) -> Int32:
        """All rows, ascending; forgets them."""
        if not self._parts:
            return np.zeros(0, np.int32)
        rows = np.sort(np.concatenate(self._parts))
        self._mask[rows] = False
        self._parts = []
        return rows
