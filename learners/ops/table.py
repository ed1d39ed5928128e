"""Loops of the embedding table: marking, counting sightings, ageing, and the counts of a block."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from learners.ops.hashing import mix
from learners.ops.prefetch import prefetch
from stream.kernel import kernel
from stream.ops.kinds import CLOSED, ORGANIC, SHOWN

__all__ = ["admits", "count_operations", "mark", "mark_all", "sight"]

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Flags = npt.NDArray[np.uint8]


@kernel
def mark(flags: Flags, rows: Int32, size: Int64, row: int) -> None:
    """Add `row` to the set held as flags (capacity,), its members rows[:size[0]]."""
    if flags[row] == 0:
        flags[row] = 1
        rows[size[0]] = row
        size[0] += 1


@kernel
def mark_all(flags: Flags, rows: Int32, size: Int64, added: Int32) -> None:
    """Add every row of `added` (n,) that is not negative."""
    for n in range(added.size):
        if added[n] >= 0:
            mark(flags, rows, size, added[n])


@kernel
def sight(splits: npt.NDArray[np.uint16], head: int, key: np.uint64) -> int:
    """Count one sighting of `key` in split `head` and return its sightings over all splits.

    `splits` is (n_splits, n_hashes, width). Each split is a count-min sketch, so a count is never too low.
    """
    width = np.uint64(splits.shape[2])
    for h in range(splits.shape[1]):
        cell = int(mix(key, np.uint64(h)) % width)
        # Saturates: a count that wrapped round would be too low, which a count-min sketch never is.
        if splits[head, h, cell] < 65535:
            splits[head, h, cell] += np.uint16(1)
    total = 0
    for s in range(splits.shape[0]):
        # Other keys may share a cell and only ever add to it, so the smallest cell is the closest.
        least = 65535
        for h in range(splits.shape[1]):
            least = min(least, int(splits[s, h, int(mix(key, np.uint64(h)) % width)]))
        total += least
    return total


@kernel
def admits(rule: int, threshold: int, count: int, draw: float) -> bool:
    """Whether the `count`-th sighting of an id admits it; rules 0 all, 1 threshold, 2 share, 3 equal.

    Share admits with probability count / threshold; equal with 1 - 0.05^(1 / threshold) at every sighting, so
    that after `threshold` sightings 95 % are in (Monolith's two probabilistic rules).
    """
    if rule == 0 or threshold <= 1:
        return True
    if rule == 1:
        return count >= threshold
    if rule == 2:
        return draw * threshold < count
    return bool(draw < 1.0 - 0.05 ** (1.0 / threshold))


@kernel
def count_operations(
    rows_of: Int32,
    start: Int32,
    kind: npt.NDArray[np.int8],
    slate: Int32,
    one: Int32,
    first: npt.NDArray[np.bool_],
    ts: Int64,
    clicks: Int64,
    impressions: Int64,
    reward: npt.NDArray[np.float64],
    touched_at: Int64,
    flags: Flags,
    marked: Int32,
    size: Int64,
) -> None:
    """Add a block's operations to the counts of one table, in order.

    SHOWN is an impression of each row in `rows_of[start[s]:start[s + 1]]`; a first CLICK or an ORGANIC
    is a click of row `one[o]` if its reward is above 0: a dislike is none. Touches move a row's `touched_at`
    forward, never back.
    """
    for o in range(kind.size):
        if kind[o] == SHOWN:
            for n in range(start[slate[o]], start[slate[o] + 1]):
                # 24 places ahead is about the time one read from main memory takes in this loop.
                ahead = min(n + 24, rows_of.size - 1)
                prefetch(impressions, rows_of[ahead])
                prefetch(touched_at, rows_of[ahead])
                row = rows_of[n]
                if row >= 0:
                    impressions[row] += 1
                    touched_at[row] = max(touched_at[row], ts[o])
                    mark(flags, marked, size, row)
        elif kind[o] != CLOSED and one[o] >= 0:
            row = one[o]
            touched_at[row] = max(touched_at[row], ts[o])
            # Every click is a touch, but a second click of the same place is counted once.
            if (kind[o] == ORGANIC or first[o]) and reward[o] > 0.0:
                clicks[row] += 1
            mark(flags, marked, size, row)
