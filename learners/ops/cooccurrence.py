"""Item pairs clicked by the same user: fading weights in a bounded list of neighbours for each item."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from learners.ops.hashing import mix
from learners.ops.table import mark
from stream.kernel import kernel

__all__ = [
    "ROOM",
    "Lists",
    "accumulate",
    "add_pairs",
    "best_of",
    "drop_rows",
    "free_block",
    "lengths_of",
    "read_lists",
    "rebase",
    "room_of",
    "sums_of",
    "write_lists",
]

ROOM = 32
"""Half-lives that a weight may lie beyond the reference before the reference moves."""

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


# Lists live in blocks of 4, 8, 16, ... entries, the largest of `slots`; a freed block keeps the offset of the
# next free one of its size in its first entry. Each list reads as if it had `slots` entries from the start.
_SMALLEST = 4


class Lists(NamedTuple):
    """Neighbours of many rows in one pool, each list the length that it needs."""

    entry: Int32  # (pool,): a neighbour, -1 where empty
    weight: Float32  # (pool,): 0 where empty
    offset: Int64  # (capacity,): where a row's block begins
    size_class: npt.NDArray[np.int8]  # (capacity,): -1 without a block
    heads: Int64  # (classes,): first free block of each size, -1 for none
    used: Int64  # (1,): entries of the pool that were ever given out
    degree: Float64  # (capacity,): sums what a row was ever given, faded like the weights


@kernel
def room_of(size_class: int, slots: int) -> int:
    """Entries of a block."""
    return 0 if size_class < 0 else min(_SMALLEST << size_class, slots)


@kernel
def _take_block(lists: Lists, size_class: int, slots: int) -> int:
    """A block of empty entries; the caller has seen to it that the pool has room."""
    at = lists.heads[size_class]
    if at >= 0:
        lists.heads[size_class] = lists.entry[at]
        lists.entry[at] = -1
        return int(at)
    at = lists.used[0]
    lists.used[0] = at + room_of(size_class, slots)
    lists.entry[at : lists.used[0]] = -1
    return int(at)


@kernel
def free_block(lists: Lists, row: int, slots: int) -> None:
    """Give the block of `row` back, emptied."""
    size_class, at = lists.size_class[row], lists.offset[row]
    if size_class < 0:
        return
    for s in range(at, at + room_of(size_class, slots)):
        lists.entry[s] = -1
        lists.weight[s] = np.float32(0.0)
    lists.entry[at] = np.int32(lists.heads[size_class])
    lists.heads[size_class] = at
    lists.size_class[row] = -1
    lists.offset[row] = 0


@kernel
def _widen(lists: Lists, row: int, slots: int) -> None:
    """Move the list of `row` to a block of the next size."""
    size_class = int(lists.size_class[row]) + 1
    old, room = lists.offset[row], room_of(size_class - 1, slots)
    new = _take_block(lists, size_class, slots)
    for s in range(room):
        lists.entry[new + s], lists.weight[new + s] = lists.entry[old + s], lists.weight[old + s]
    free_block(lists, row, slots)
    lists.offset[row], lists.size_class[row] = new, np.int8(size_class)


@kernel
def rebase(lists: Lists, used: int, slots: int, steps: float) -> None:
    """Move the reference on by `steps` whole half-lives; neighbours faded below 2^-60 leave their slot."""
    factor = 2.0**-steps
    degree, entry, weight = lists.degree, lists.entry, lists.weight
    for row in range(used):
        degree[row] *= factor
        if degree[row] < 2.0**-60:
            degree[row] = 0.0
        at = lists.offset[row]
        for s in range(at, at + room_of(lists.size_class[row], slots)):
            weight[s] *= np.float32(factor)
            if weight[s] < np.float32(2.0**-60):
                weight[s] = np.float32(0.0)
                entry[s] = -1


@kernel
def _add(lists: Lists, row: int, other: int, weight: float, slots: int) -> None:
    entry, weights = lists.entry, lists.weight
    at, room = lists.offset[row], room_of(lists.size_class[row], slots)
    lightest = at
    for s in range(at, at + room):
        if entry[s] == other:
            weights[s] += np.float32(weight)
            return
        if weights[s] < weights[lightest]:
            lightest = s
    # An empty slot weighs 0, so a lightest above 0 means that the block is full.
    if room < slots and (room == 0 or weights[lightest] > 0):
        _widen(lists, row, slots)
        lightest = lists.offset[row] + room
    entry[lightest] = other
    weights[lightest] = np.float32(weight)


@kernel
def add_pairs(
    item: Int32,
    other: Int32,
    ts: Int64,
    other_ts: Int64,
    half_life: float,
    gap_half_life: float,
    reference: Int64,
    lists: Lists,
    used: int,
    slots: int,
    begin: int,
    flags: npt.NDArray[np.uint8],
    marked: Int32,
    size: Int64,
) -> int:
    """Add pairs from `begin` on to both items' lists; a pair clicked `gap` apart counts
    2^-(gap / gap_half_life). A full list gives up its lightest entry.

    Returns:
        How many pairs are done: all, or as many as went before the pool was full; grow it and go on there.
    """
    degree = lists.degree
    for n in range(begin, item.size):
        # A pair widens two lists at most.
        if lists.used[0] + 2 * slots > lists.entry.size:
            return n
        ahead = (ts[n] - reference[0]) / half_life
        if ahead > ROOM:
            steps = np.floor(ahead)
            rebase(lists, used, slots, steps)
            reference[0] += np.int64(steps * half_life)
            ahead = (ts[n] - reference[0]) / half_life
        # Pairs of long ago would be subnormal; below 2^-60 they leave at the next rebase anyway.
        weight = 2.0 ** max(ahead, -60.0)
        if gap_half_life > 0:
            weight *= 2.0 ** -(abs(ts[n] - other_ts[n]) / gap_half_life)
        _add(lists, item[n], other[n], weight, slots)
        _add(lists, other[n], item[n], weight, slots)
        degree[item[n]] += weight
        degree[other[n]] += weight
        mark(flags, marked, size, item[n])
        mark(flags, marked, size, other[n])
    return int(item.size)


@kernel
def lengths_of(rows: Int32, lists: Lists, slots: int) -> Int32:
    """Entries of each row's list up to its last neighbour, empty ones between included; (n,)."""
    out = np.zeros(rows.size, np.int32)
    for n in range(rows.size):
        at = lists.offset[rows[n]]
        for s in range(room_of(lists.size_class[rows[n]], slots)):
            if lists.entry[at + s] >= 0:
                out[n] = s + 1
    return out


@kernel
def read_lists(rows: Int32, lengths: Int32, lists: Lists, entry: Int32, weight: Float32) -> None:
    """Copy the first `lengths` (n,) entries of each row into `entry` and `weight` (sum of lengths,)."""
    to = 0
    for n in range(rows.size):
        at = lists.offset[rows[n]]
        for s in range(at, at + lengths[n]):
            entry[to], weight[to] = lists.entry[s], lists.weight[s]
            to += 1


@kernel
def write_lists(
    rows: Int32, lengths: Int32, entry: Int32, weight: Float32, lists: Lists, slots: int, begin: int, low: int
) -> tuple[int, int]:
    """Replace the lists of `rows` (n,) from number `begin` on, whose entries begin at `low`.

    Returns:
        How many lists and entries are done: all, or those before the pool was full.
    """
    for n in range(begin, rows.size):
        if lists.used[0] + 2 * slots > lists.entry.size:
            return n, low
        row = rows[n]
        # A shorter list keeps its block: it will most likely grow again.
        if lengths[n] > room_of(lists.size_class[row], slots) or lengths[n] == 0:
            free_block(lists, row, slots)
        if lengths[n] > 0 and lists.size_class[row] < 0:
            size_class = 0
            while room_of(size_class, slots) < lengths[n]:
                size_class += 1
            lists.offset[row] = _take_block(lists, size_class, slots)
            lists.size_class[row] = np.int8(size_class)
        at = lists.offset[row]
        for s in range(room_of(lists.size_class[row], slots)):
            inside = s < lengths[n]
            lists.entry[at + s] = entry[low + s] if inside else np.int32(-1)
            lists.weight[at + s] = weight[low + s] if inside else np.float32(0.0)
        low += lengths[n]
    return int(rows.size), low


@kernel
def _slot(keys: Int32, row: int) -> int:
    # Twice signed: in machine code an unsigned and a signed integer would meet as floating point.
    place = np.int64(np.int64(mix(np.uint64(row), np.uint64(0)) >> np.uint64(1)) & np.int64(keys.size - 1))
    while keys[place] >= 0 and keys[place] != row:
        place = (place + 1) & (keys.size - 1)
    return int(place)


@kernel
def accumulate(
    recent: Int32,
    lists: Lists,
    slots: int,
    fade: float,
    rank_decay: float,
    smoothing: float,
    power: float,
) -> tuple[Int32, Float64, Int32]:
    """Scores of what goes with `recent` (q,), newest first.

    score(j) = sum over q of rank_decay^q * w_ij / ((d_i + smoothing) * (d_j + smoothing))^power, with weights
    and degrees times `fade`.

    Returns:
        A hash table of rows (m,), -1 where free, and their scores (m,), for `sums_of`; and the places (n,) in
        it that are taken, in the order of first meeting.
    """
    entry, weight, degree = lists.entry, lists.weight, lists.degree
    offset, size_class = lists.offset, lists.size_class
    most = 0
    for q in range(recent.size):
        if 0 <= recent[q] < degree.size:
            most += room_of(size_class[recent[q]], slots)
    room = 16
    # At most half full, so that probes stay short; one place is always free, so that they end.
    while room < 2 * (most + 1):
        room *= 2
    keys = np.full(room, -1, np.int32)
    sums = np.zeros(room)
    met = np.empty(most, np.int32)
    n_met = 0
    share = 1.0
    for q in range(recent.size):
        i = recent[q]
        if 0 <= i < degree.size:
            mine = (degree[i] * fade + smoothing) ** power
            for s in range(offset[i], offset[i] + room_of(size_class[i], slots)):
                j = entry[s]
                if j < 0:
                    continue
                place = _slot(keys, j)
                if keys[place] < 0:
                    keys[place] = j
                    met[n_met] = place
                    n_met += 1
                theirs = (degree[j] * fade + smoothing) ** power
                sums[place] += share * weight[s] * fade / (mine * theirs)
        share *= rank_decay
    return keys, sums, met[:n_met]


@kernel
def sums_of(rows: Int32, keys: Int32, sums: Float64) -> Float64:
    """Scores (n,) of `rows` (n,) in the hash table, 0 for those not in it."""
    out = np.zeros(rows.size)
    for n in range(rows.size):
        place = _slot(keys, rows[n]) if rows[n] >= 0 else 0
        if rows[n] >= 0 and keys[place] == rows[n]:
            out[n] = sums[place]
    return out


@kernel
def _holds(rows: Int32, wanted: int) -> bool:
    inside = False
    for row in rows:
        inside = inside or row == wanted
    return inside


@kernel
def best_of(k: int, without: Int32, keys: Int32, sums: Float64, met: Int32) -> tuple[Int32, Float64]:
    """The `k` best of the hash table's rows but those in `without`: score descending, ties by row."""
    rows, scores, n = np.empty(min(k, met.size), np.int32), np.empty(min(k, met.size)), 0
    for m in range(met.size if k > 0 else 0):
        row, score = keys[met[m]], sums[met[m]]
        if n == rows.size and (score < scores[n - 1] or (score == scores[n - 1] and row > rows[n - 1])):
            continue
        if _holds(without, row):
            continue
        place = n if n < rows.size else n - 1
        n = place + 1
        # Insertion into a short sorted list: `k` is small, and most rows fail the test above.
        while place > 0 and (
            scores[place - 1] < score or (scores[place - 1] == score and rows[place - 1] > row)
        ):
            rows[place], scores[place] = rows[place - 1], scores[place - 1]
            place -= 1
        rows[place], scores[place] = row, score
    return rows[:n], scores[:n]


@kernel
def drop_rows(
    lists: Lists,
    used: int,
    slots: int,
    gone: npt.NDArray[np.bool_],
    flags: npt.NDArray[np.uint8],
    marked: Int32,
    size: Int64,
) -> None:
    """Empty the lists of rows flagged in `gone` (n,), and take those rows out of every other list."""
    entry, weight = lists.entry, lists.weight
    for row in range(used):
        is_gone = row < gone.size and gone[row]
        is_touched = is_gone
        if is_gone:
            lists.degree[row] = 0.0
            free_block(lists, row, slots)
        at = lists.offset[row]
        for s in range(at, at + room_of(lists.size_class[row], slots)):
            j = entry[s]
            if j >= 0 and j < gone.size and gone[j]:
                entry[s] = -1
                weight[s] = np.float32(0.0)
                is_touched = True
        if is_touched:
            mark(flags, marked, size, row)
