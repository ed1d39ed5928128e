"""Diag-LinUCB on edges (cluster, item): two sums an edge, kept in an item's chain of small blocks.

Storage: block p holds SLOTS edges: `slot_cluster[p * SLOTS + j]` (-1: free) and `slot_sums[p * SLOTS + j]` =
(b, d). `head[row]` is an item's newest block (-1: none), `following[p]` the next one. `pool` = (used, first
free block, free blocks). An item rarely has more than a few blocks, so a scan beats a hash.
"""

from __future__ import annotations

import math

import numpy as np

from bandits.ops.arrays import Bool, Float32, Float64, Int8, Int32, Int64
from learners.ops.prefetch import prefetch
from stream.kernel import kernel
from stream.ops.kinds import CLICK, SHOWN

__all__ = [
    "SLOTS",
    "absorb",
    "add_edges",
    "count_edges",
    "export_edges",
    "free_rows",
    "rows_with",
    "slot_for",
    "ucb_scores",
]

# 4 clusters are 16 bytes and their sums 64, one cache line; most items meet one to three clusters.
SLOTS = 4


@kernel
def slot_for(
    row: int,
    cluster: int,
    head: Int32,
    following: Int32,
    slot_cluster: Int32,
    slot_sums: Float64,
    pool: Int64,
) -> int:
    """The slot of (row, cluster), taken from the pool if it is new; the caller has made room."""
    block = head[row]
    while block >= 0:
        for slot in range(block * SLOTS, block * SLOTS + SLOTS):
            if slot_cluster[slot] == cluster:
                return slot
        block = following[block]
    block = head[row]
    if block >= 0:
        # Only the newest block of a chain may have free slots, and they are its last ones.
        for slot in range(block * SLOTS, block * SLOTS + SLOTS):
            if slot_cluster[slot] == -1:
                slot_cluster[slot] = cluster
                return slot
    if pool[1] >= 0:
        block = pool[1]
        pool[1] = following[block]
        pool[2] -= 1
    else:
        block = pool[0]
        pool[0] += 1
    slot_cluster[block * SLOTS : block * SLOTS + SLOTS] = -1
    slot_sums[block * SLOTS : block * SLOTS + SLOTS, 0] = 0.0
    # d starts at 1: the ridge of the paper's A, so that b / d is defined before the first impression.
    slot_sums[block * SLOTS : block * SLOTS + SLOTS, 1] = 1.0
    following[block] = head[row]
    head[row] = block
    slot_cluster[block * SLOTS] = cluster
    return int(block * SLOTS)


@kernel
def _prefetch(row: int, head: Int32, following: Int32, slot_cluster: Int32, slot_sums: Float64) -> None:
    """Have an item's newest block brought near."""
    if 0 <= row < head.size and head[row] >= 0:
        block = head[row]
        prefetch(slot_cluster, block * SLOTS)
        prefetch(following, block)
        for slot in range(block * SLOTS, block * SLOTS + SLOTS, 4):
            prefetch(slot_sums, slot)


@kernel
def _add(slot_sums: Float64, slot: int, w: float, is_click: bool, reward: float) -> None:
    if is_click:
        slot_sums[slot, 0] += w * reward
    else:
        slot_sums[slot, 1] += w * w


@kernel
def _learn_place(
    row: int,
    clusters: Int32,
    weights: Float32,
    retired: Bool,
    is_click: bool,
    reward: float,
    head: Int32,
    following: Int32,
    slot_cluster: Int32,
    slot_sums: Float64,
    pool: Int64,
) -> None:
    """Eq. 8 (d += w^2) for one shown place, or Eq. 9 (b += w * reward) for one reward."""
    # One walk along the chain serves all clusters of the context: it is the walk that costs, not the sums.
    missing = 0
    for k in range(clusters.size):
        cluster = clusters[k]
        if cluster >= 0 and weights[k] != 0.0 and not (cluster < retired.size and retired[cluster]):
            missing |= 1 << k
    block = head[row]
    while block >= 0 and missing != 0:
        base = block * SLOTS
        for k in range(clusters.size):
            if missing & (1 << k):
                slot = -1
                for j in range(SLOTS):
                    # All four are compared without a branch: a jump guessed wrong costs more than they do.
                    slot = base + j if slot_cluster[base + j] == clusters[k] else slot
                if slot >= 0:
                    missing ^= 1 << k
                    _add(slot_sums, slot, float(weights[k]), is_click, reward)
        block = following[block]
    for k in range(clusters.size):
        if missing & (1 << k):
            slot = slot_for(row, clusters[k], head, following, slot_cluster, slot_sums, pool)
            _add(slot_sums, slot, float(weights[k]), is_click, reward)


@kernel
def _ask_ahead(
    o: int, kind: Int8, slate: Int32, place: Int32, start: Int32, items: Int32, head: Int32, shown: Int64,
    following: Int32, slot_cluster: Int32, slot_sums: Float64,
) -> None:  # fmt: skip
    """Have what operation o + 1 needs brought near, and where that lies for operation o + 2."""
    for ahead in (2, 1):
        at = o + ahead
        if at >= kind.size or slate[at] < 0 or kind[at] > CLICK:
            continue
        low = place[at] if kind[at] == CLICK else start[slate[at]]
        high = low + 1 if kind[at] == CLICK else start[slate[at] + 1]
        for n in range(low, high):
            if ahead == 1:
                _prefetch(items[n], head, following, slot_cluster, slot_sums)
            else:
                prefetch(head, items[n])
                prefetch(shown, items[n])


@kernel
def absorb(
    first: int,
    kind: Int8,
    slate: Int32,
    place: Int32,
    reward: Float64,
    start: Int32,
    items: Int32,
    clusters: Int32,
    weights: Float32,
    decided: Bool,
    retired: Bool,
    head: Int32,
    following: Int32,
    slot_cluster: Int32,
    slot_sums: Float64,
    pool: Int64,
    shown: Int64,
    mark: Bool,
    touched: Int32,
    n_touched: Int64,
) -> int:
    """Learn the operations from `first` on, in order; returns the operation it stopped before for want of
    blocks.

    `n_touched` (2,): rows written to `touched` so far and operations learned. `mark` (n_items,) is set for
    them.
    """
    n_slates, width = clusters.shape
    for o in range(first, kind.size):
        s = slate[o]
        is_click = kind[o] == CLICK
        if not (is_click or kind[o] == SHOWN) or s < 0 or s >= n_slates or not decided[s]:
            continue
        low = place[o] if is_click else start[s]
        high = low + 1 if is_click else start[s + 1]
        # At worst each place needs a new block for each cluster. Stopping before the operation, not in the
        # middle of it, lets the caller make room and go on here.
        if following.size - pool[0] + pool[2] < (high - low) * width:
            return o
        n_touched[1] += 1
        _ask_ahead(o, kind, slate, place, start, items, head, shown, following, slot_cluster, slot_sums)
        for n in range(low, high):
            row = items[n]
            if row < 0:
                continue
            _learn_place(
                row, clusters[s], weights[s], retired, is_click, reward[o],
                head, following, slot_cluster, slot_sums, pool,
            )  # fmt: skip
            if not is_click:
                shown[row] += 1
            if not mark[row]:
                mark[row] = True
                touched[n_touched[0]] = row
                n_touched[0] += 1
    return int(kind.size)


@kernel
def ucb_scores(
    candidates: Int32,
    clusters: Int32,
    weights: Float32,
    alpha: float,
    head: Int32,
    following: Int32,
    slot_cluster: Int32,
    slot_sums: Float64,
    shown: Int64,
    pending: Int8,
    unseen_first: bool,
    scores: Float64,
    widths: Float64,
) -> None:
    """Eq. 7 for each candidate: sum w b/d + alpha sqrt(sum w^2/d).

    With `unseen_first`, +inf for one never shown and not pending.

    Sums run over the context's clusters in their order, whatever order the edges were made in.
    """
    n_clusters = clusters.size
    b, d = np.empty(n_clusters), np.empty(n_clusters)
    wanted = 0
    for k in range(n_clusters):
        if clusters[k] >= 0:
            wanted |= 1 << k
    for i in range(candidates.size):
        row = candidates[i]
        known = 0 <= row < head.size
        widths[i] = alpha
        if row < 0:
            scores[i] = -np.inf
            continue
        unseen = unseen_first and (not known or shown[row] == 0)
        if unseen and (row >= pending.size or pending[row] == 0):
            scores[i] = np.inf
            continue
        b[:], d[:] = 0.0, 1.0
        block = head[row] if known else -1
        missing = wanted
        # The walk is what costs: it ends with the last cluster that is looked for.
        while block >= 0 and missing != 0:
            base = block * SLOTS
            for k in range(n_clusters):
                if missing & (1 << k):
                    slot = -1
                    for j in range(SLOTS):
                        slot = base + j if slot_cluster[base + j] == clusters[k] else slot
                    if slot >= 0:
                        missing ^= 1 << k
                        b[k], d[k] = slot_sums[slot, 0], slot_sums[slot, 1]
            block = following[block]
        mean, variance = 0.0, 0.0
        for k in range(n_clusters):
            if clusters[k] >= 0:
                w = float(weights[k])
                mean += w * b[k] / d[k]
                variance += w * w / d[k]
        widths[i] = alpha * math.sqrt(variance)
        scores[i] = mean + widths[i]


@kernel
def free_rows(rows: Int32, head: Int32, following: Int32, pool: Int64) -> None:
    """Give back all blocks of these rows."""
    for row in rows:
        block = head[row]
        while block >= 0:
            after = following[block]
            following[block] = pool[1]
            pool[1] = block
            pool[2] += 1
            block = after
        head[row] = -1


@kernel
def count_edges(rows: Int32, head: Int32, following: Int32, slot_cluster: Int32) -> Int32:
    """Number of edges of each row (n,)."""
    counts = np.zeros(rows.size, np.int32)
    for i in range(rows.size):
        if i + 8 < rows.size and head[rows[i + 8]] >= 0:
            prefetch(slot_cluster, head[rows[i + 8]] * SLOTS)
            prefetch(following, head[rows[i + 8]])
        block = head[rows[i]]
        while block >= 0:
            for slot in range(block * SLOTS, block * SLOTS + SLOTS):
                if slot_cluster[slot] >= 0:
                    counts[i] += 1
            block = following[block]
    return counts


@kernel
def rows_with(retired: Bool, head: Int32, following: Int32, slot_cluster: Int32) -> Int32:
    """Rows, ascending, with an edge to a cluster flagged in `retired` (n,)."""
    found = np.empty(head.size, np.int32)
    n = 0
    for row in range(head.size):
        block = head[row]
        has_any = False
        while block >= 0 and not has_any:
            for slot in range(block * SLOTS, block * SLOTS + SLOTS):
                cluster = slot_cluster[slot]
                has_any = has_any or (0 <= cluster < retired.size and retired[cluster])
            block = following[block]
        if has_any:
            found[n] = row
            n += 1
    return found[:n].copy()


@kernel
def export_edges(
    rows: Int32,
    counts: Int32,
    head: Int32,
    following: Int32,
    slot_cluster: Int32,
    slot_sums: Float64,
    clusters: Int32,
    sums: Float64,
) -> None:
    """Write the edges of `rows`, one row after the other, by cluster id, into `clusters` (m,) and `sums` (m,
    2)."""
    low = 0
    for i in range(rows.size):
        if i + 8 < rows.size:
            _prefetch(rows[i + 8], head, following, slot_cluster, slot_sums)
        high = low
        block = head[rows[i]]
        while block >= 0:
            for slot in range(block * SLOTS, block * SLOTS + SLOTS):
                if slot_cluster[slot] < 0:
                    continue
                # Sorted by cluster, so that what is exported does not tell in what order edges were made.
                j = high
                while j > low and clusters[j - 1] > slot_cluster[slot]:
                    clusters[j] = clusters[j - 1]
                    sums[j, 0], sums[j, 1] = sums[j - 1, 0], sums[j - 1, 1]
                    j -= 1
                clusters[j] = slot_cluster[slot]
                sums[j, 0], sums[j, 1] = slot_sums[slot, 0], slot_sums[slot, 1]
                high += 1
            block = following[block]
        low += counts[i]


@kernel
def add_edges(
    rows: Int32,
    counts: Int32,
    clusters: Int32,
    sums: Float64,
    head: Int32,
    following: Int32,
    slot_cluster: Int32,
    slot_sums: Float64,
    pool: Int64,
) -> None:
    """Add b and d - 1 of listed edges to those here, exactly on new edges; the caller has made room."""
    e = 0
    for i in range(rows.size):
        for _ in range(counts[i]):
            slot = slot_for(rows[i], clusters[e], head, following, slot_cluster, slot_sums, pool)
            slot_sums[slot, 0] += sums[e, 0]
            # Both sides hold the ridge of 1; it counts once.
            slot_sums[slot, 1] += sums[e, 1] - 1.0
            e += 1
