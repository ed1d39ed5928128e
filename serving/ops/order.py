"""A small question about one request's arrays, in one pass."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stream.kernel import kernel

__all__ = ["split_shown"]

Int32 = npt.NDArray[np.int32]


@kernel
def split_shown(ranked: Int32, items: Int32, most_others: int, place_of: Int32) -> tuple[Int32, Int32]:
    """Where each of `items` (k,) stands among the distinct `ranked` (n,), -1 where it does not; and the
    places of the first `most_others` ranked rows that are not among them.

    `place_of`, by row, holds -1 and is left so.

    Example:
        >>> nowhere = np.full(9, -1, np.int32)
        >>> at, others = split_shown(np.array([4, 7, 2], np.int32), np.array([7, 8], np.int32), 5, nowhere)
        >>> at.tolist(), others.tolist()
        ([1, -1], [0, 2])
    """
    for n in range(ranked.size):
        place_of[ranked[n]] = n
    at = np.empty(items.size, np.int32)
    for i in range(items.size):
        at[i] = place_of[items[i]]
    for i in range(items.size):
        place_of[items[i]] = -1
    others, kept = np.empty(min(most_others, ranked.size), np.int32), 0
    for n in range(ranked.size):
        if place_of[ranked[n]] >= 0:
            if kept < others.size:
                others[kept] = n
                kept += 1
            place_of[ranked[n]] = -1
    return at, others[:kept]
