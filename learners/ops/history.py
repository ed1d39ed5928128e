"""Recency lists of many users in one pool of memory, each the length it needs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from learners.ops.table import mark
from stream.kernel import kernel
from stream.ops.kinds import CLICK, ORGANIC

__all__ = ["append", "append_all", "drop_items", "learn_positives"]

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

# Users' lists live in blocks of 4, 8, 16, ... entries; a freed block keeps the offset of the next free one of
# its size in its first time stamp.
_SMALLEST = 4


@kernel
def _take_block(pool_ts: Int64, heads: Int64, used: Int64, size_class: int) -> int:
    at = heads[size_class]
    if at >= 0:
        heads[size_class] = pool_ts[at]
        return int(at)
    at = used[0]
    if at + (_SMALLEST << size_class) > pool_ts.size:
        return -1
    used[0] = at + (_SMALLEST << size_class)
    return int(at)


@kernel
def append(
    pool: Int32,
    pool_ts: Int64,
    heads: Int64,
    used: Int64,
    offset: Int64,
    length: Int32,
    size_class: npt.NDArray[np.int8],
    cap: int,
    user: int,
    item: int,
    ts: int,
) -> bool:
    """Make `item` the newest of `user`: moved if it is there, else added and the oldest dropped beyond `cap`.

    False, with nothing changed, if the pool is full: grow it and ask again.
    """
    n, at = length[user], offset[user]
    # Lists are short (`cap`), so a scan is faster than any index.
    for p in range(at, at + n):
        if pool[p] == item:
            for q in range(p, at + n - 1):
                pool[q], pool_ts[q] = pool[q + 1], pool_ts[q + 1]
            pool[at + n - 1], pool_ts[at + n - 1] = item, ts
            return True
    if n >= cap:
        for q in range(at, at + n - 1):
            pool[q], pool_ts[q] = pool[q + 1], pool_ts[q + 1]
        pool[at + n - 1], pool_ts[at + n - 1] = item, ts
        return True
    room = 0 if size_class[user] < 0 else _SMALLEST << size_class[user]
    if n == room:
        new = _take_block(pool_ts, heads, used, size_class[user] + 1)
        if new < 0:
            return False
        for q in range(n):
            pool[new + q], pool_ts[new + q] = pool[at + q], pool_ts[at + q]
            pool[at + q], pool_ts[at + q] = 0, 0  # a forgotten user must not live on in old blocks
        if room:
            pool_ts[at] = heads[size_class[user]]
            heads[size_class[user]] = at
        offset[user] = at = new
        size_class[user] += 1
    pool[at + n], pool_ts[at + n] = item, ts
    length[user] = n + 1
    return True


@kernel
def append_all(
    pool: Int32,
    pool_ts: Int64,
    heads: Int64,
    used: Int64,
    offset: Int64,
    length: Int32,
    size_class: npt.NDArray[np.int8],
    cap: int,
    users: Int32,
    items: Int32,
    ts: Int64,
    done: int,
) -> int:
    """`append` for entry `done` and those behind it, (n,) each; returns the first that found the pool full,
    or n."""
    for m in range(done, users.size):
        if not append(pool, pool_ts, heads, used, offset, length, size_class, cap, users[m], items[m], ts[m]):
            return m
    return int(users.size)


@kernel
def learn_positives(
    kind: npt.NDArray[np.int8],
    users: Int32,
    items: Int32,
    first: npt.NDArray[np.bool_],
    reward: npt.NDArray[np.float64],
    ts: Int64,
    pool: Int32,
    pool_ts: Int64,
    heads: Int64,
    used: Int64,
    offset: Int64,
    length: Int32,
    size_class: npt.NDArray[np.int8],
    cap: int,
    fresh: Int32,
    flags: npt.NDArray[np.uint8],
    marked: Int32,
    size: Int64,
    pairs: Int64,
    window: int,
    begin: int,
    n_pairs: int,
) -> tuple[int, int]:
    """Append the positives of operations `begin` and later; returns (operations done, pairs written).

    Each positive also writes its pairs with the user's up to `window` newest other items, newest first, as
    rows of `pairs` (P, 5): item, other item, ts, the other's ts, how many were newer than it. A signal (a
    click with a reward of 0) is appended and writes none; a dislike is nothing here.
    """
    for o in range(begin, kind.size):
        is_positive = reward[o] > 0.0 and (kind[o] == ORGANIC or (kind[o] == CLICK and first[o]))
        is_signal = reward[o] == 0.0 and (kind[o] == ORGANIC or kind[o] == CLICK)
        user, item = users[o], items[o]
        if not (is_positive or is_signal) or user < 0 or item < 0:
            continue
        # Stopped before an operation, never within one: the caller makes room and begins again at `o`.
        if n_pairs + window > pairs.shape[0]:
            return o, n_pairs
        at, rank = offset[user], 0
        before = n_pairs
        for p in range(at + length[user] - 1, at - 1, -1):
            if rank >= window or is_signal:
                break
            if pool[p] != item:
                pairs[n_pairs, 0], pairs[n_pairs, 1], pairs[n_pairs, 2] = item, pool[p], ts[o]
                pairs[n_pairs, 3], pairs[n_pairs, 4] = pool_ts[p], rank
                n_pairs += 1
                rank += 1
        done = append(
            pool, pool_ts, heads, used, offset, length, size_class, cap, user, item, ts[o]
        )  # fmt: skip
        if not done:
            return o, before
        # How many entries are newer than what was last sent; -1 means that the whole list must be sent.
        if fresh[user] >= 0:
            fresh[user] += 1
        mark(flags, marked, size, user)
    return kind.size, n_pairs


@kernel
def drop_items(
    pool: Int32,
    pool_ts: Int64,
    offset: Int64,
    length: Int32,
    gone: npt.NDArray[np.bool_],
    fresh: Int32,
    flags: npt.NDArray[np.uint8],
    marked: Int32,
    size: Int64,
) -> None:
    """Take the items whose flag in `gone` (n_items,) is set out of every list, keeping the others' order."""
    for user in range(length.size):
        at, kept = offset[user], 0
        for p in range(at, at + length[user]):
            if not gone[pool[p]]:
                pool[at + kept], pool_ts[at + kept] = pool[p], pool_ts[p]
                kept += 1
        for p in range(at + kept, at + length[user]):
            pool[p], pool_ts[p] = 0, 0
        if kept != length[user]:
            length[user] = kept
            # An entry left from the middle: what followers hold can no longer be mended by appending.
            fresh[user] = -1
            mark(flags, marked, size, user)
