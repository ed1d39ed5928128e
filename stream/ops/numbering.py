"""Numbers by first use: what dictionaries do for texts, for whole numbers and without a Python object."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stream.kernel import kernel

__all__ = ["number_by_first_use"]

Int32 = npt.NDArray[np.int32]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@kernel
def number_by_first_use(values: Int32) -> tuple[Int32, Int32]:
    """A number for each of `values` (n,), equal ones alike, and the distinct values (m,) by these numbers:
    in the order in which each is first met.

    Example:
        >>> number_by_first_use(np.array([7, 2, 7, 9], np.int32))
        (array([0, 1, 0, 2], dtype=int32), array([7, 2, 9], dtype=int32))
    """
    bits = 4
    while (1 << bits) < 2 * values.size:
        bits += 1
    shift, mask = np.uint64(64 - bits), (1 << bits) - 1
    # A table as large as twice the values: of all rows of a table it would be larger than the caches.
    slots = np.full(1 << bits, -1, np.int32)
    numbers, distinct, n = np.empty_like(values), np.empty_like(values), 0
    for k in range(values.size):
        # Multiplied by the golden ratio neighbours lie far apart (Fibonacci hashing, Knuth 6.4).
        slot = np.int64((np.uint64(values[k]) * _GOLDEN) >> shift)
        while slots[slot] >= 0 and distinct[slots[slot]] != values[k]:
            slot = (slot + 1) & mask
        if slots[slot] < 0:
            slots[slot], distinct[n] = n, values[k]
            n += 1
        numbers[k] = slots[slot]
    return numbers, distinct[:n].copy()
