"""The set of rows touched since it was last taken: cheap to add to from a kernel, cheap to empty."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from learners.ops.table import mark_all

__all__ = ["Touched", "grown"]

Int32 = npt.NDArray[np.int32]


def grown(array: npt.NDArray[np.generic], capacity: int, fill: float = 0) -> npt.NDArray[np.generic]:
    """A copy of `array` with `capacity` rows, the new ones filled with `fill`.

    Example:
        >>> grown(np.array([1, 2], np.int32), 4, -1)
        array([ 1,  2, -1, -1], dtype=int32)
    """
    out = np.full((capacity, *array.shape[1:]), fill, array.dtype)
    out[: len(array)] = array
    return out


class Touched:
    """A set of row numbers, at most `capacity` of them; grows with the rows, never beyond.

    Example:
        >>> touched = Touched(8)
        >>> touched.add(np.array([5, 2, 5, -1], np.int32))
        >>> touched.take()
        array([2, 5], dtype=int32)
        >>> touched.take()
        array([], dtype=int32)
    """

    __slots__ = ("flags", "rows", "size")

    def __init__(self, capacity: int = 0) -> None:
        self.flags = np.zeros(capacity, np.uint8)
        self.rows = np.zeros(capacity, np.int32)
        self.size = np.zeros(1, np.int64)

    def ensure(self, capacity: int) -> None:
        """Make room for row numbers below `capacity`."""
        if capacity > self.flags.size:
            self.flags = grown(self.flags, capacity).astype(np.uint8, copy=False)
            self.rows = grown(self.rows, capacity).astype(np.int32, copy=False)

    def add(self, rows: Int32) -> None:
        """Add `rows` (n,); negative ones are ignored."""
        mark_all(self.flags, self.rows, self.size, rows)

    def peek(self) -> Int32:
        """The rows, sorted, without forgetting them."""
        return np.sort(self.rows[: int(self.size[0])])

    def take(self) -> Int32:
        """The rows, sorted; forgets them."""
        rows = self.peek()
        self.flags[rows] = 0
        self.size[0] = 0
        return rows

    def put(self, rows: Int32) -> None:
        """Become exactly `rows`."""
        self.take()
        self.ensure(int(rows.max()) + 1 if rows.size else 0)
        self.add(rows)
