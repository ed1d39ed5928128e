"""The set of rows touched since it was last taken: cheap to add to from a kernel, cheap to empty."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from learners.ops.table import mark_all

__all__ = ["Touched", "grown", "roomier"]

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


def roomier(capacity: int, wanted: int) -> int:
    """Capacity to grow to when `wanted` rows are more than `capacity`: a quarter more, since what is doubled
    stands half empty.

    Example:
        >>> roomier(1_000, 1_001), roomier(1_000, 5_000)
        (1250, 5000)
    """
    return max(wanted, capacity + capacity // 4)


class Touched:
    """A set of row numbers, at most `capacity` of them; grows with the rows, never beyond.

    Its 5 bytes a row are taken when the first row is added: a replica, which touches none, has none.

    Example:
        >>> touched = Touched(8)
        >>> touched.add(np.array([5, 2, 5, -1], np.int32))
        >>> touched.drain()
        array([2, 5], dtype=int32)
        >>> touched.drain()
        array([], dtype=int32)
    """

    __slots__ = ("_capacity", "_flags", "_rows", "size")

    def __init__(self, capacity: int = 0) -> None:
        self._capacity = capacity
        self._flags = np.zeros(0, np.uint8)
        self._rows = np.zeros(0, np.int32)
        self.size = np.zeros(1, np.int64)

    @property
    def flags(self) -> npt.NDArray[np.uint8]:
        """Whether a row is in the set, (capacity,); for kernels."""
        if self._flags.size < self._capacity:
            self._flags = grown(self._flags, self._capacity).astype(np.uint8, copy=False)
        return self._flags

    @property
    def rows(self) -> Int32:
        """The members, the first `size[0]` of (capacity,), in the order in which they came; for kernels."""
        if self._rows.size < self._capacity:
            self._rows = grown(self._rows, self._capacity).astype(np.int32, copy=False)
        return self._rows

    def ensure(self, capacity: int) -> None:
        """Make room for row numbers below `capacity`."""
        self._capacity = max(self._capacity, capacity)

    def add(self, rows: Int32) -> None:
        """Add `rows` (n,); negative ones are ignored."""
        if rows.size:
            mark_all(self.flags, self.rows, self.size, rows)

    def peek(self) -> Int32:
        """The rows, sorted, without forgetting them."""
        return np.sort(self._rows[: int(self.size[0])])

    def drain(self) -> Int32:
        """The rows, sorted; forgets them."""
        rows = self.peek()
        self._flags[rows] = 0
        self.size[0] = 0
        return rows

    def put(self, rows: Int32) -> None:
        """Become exactly `rows`."""
        self.drain()
        self.ensure(int(rows.max()) + 1 if rows.size else 0)
        self.add(rows)
