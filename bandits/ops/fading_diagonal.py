"""Diag-LinUCB that forgets: the edges of `bandits.ops.diagonal`, and an item's steps beside them.

An item has `epochs` (parts,), as `bandits.ops.forgetting` says; all its edges are of those. The edge of a
cluster in slot p of a window has the number cluster x parts + p, so that blocks, chains and their export are
those of the policy that does not forget. What fades is b and d - 1, which are sums; the start of 1 stays.
"""

from __future__ import annotations

import math

import numpy as np

from bandits.ops.arrays import Bool, Float32, Float64, Int8, Int32, Int64
from bandits.ops.diagonal import SLOTS, slot_for
from bandits.ops.forgetting import worth
from stream.kernel import kernel
from stream.ops.kinds import CLICK, SHOWN

__all__ = ["absorb_fading", "fading_scores"]


@kernel
def _open(
    row: int, epoch: int, fading: float, epochs: Int64, head: Int32, following: Int32, slot_cluster: Int32,
    slot_sums: Float64,
) -> tuple[int, float]:  # fmt: skip
    """As `bandits.ops.forgetting.open_slot`, over the chain of an item."""
    parts = epochs.shape[1]
    part = epoch % parts
    age = epoch - epochs[row, part]
    if age <= 0:
        return part, worth(-age, parts, fading)
    left, block = worth(age, parts, fading), head[row]
    while block >= 0:
        for slot in range(block * SLOTS, block * SLOTS + SLOTS):
            if slot_cluster[slot] >= 0 and slot_cluster[slot] % parts == part:
                slot_sums[slot, 0] *= left
                slot_sums[slot, 1] = 1.0 + left * (slot_sums[slot, 1] - 1.0)
        block = following[block]
    epochs[row, part] = epoch
    return part, 1.0


@kernel
def absorb_fading(
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
    at: Int64,
    fading: float,
    retired: Bool,
    epochs: Int64,
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
    """As `bandits.ops.diagonal.absorb`, into slots: `at` (S,) is the epoch of each slate, `epochs` (n, parts)
    are those of each item.
    """
    n_slates, width = clusters.shape
    parts = epochs.shape[1]
    for o in range(first, kind.size):
        s = slate[o]
        is_click = kind[o] == CLICK
        if not (is_click or kind[o] == SHOWN) or s < 0 or s >= n_slates or not decided[s]:
            continue
        low = place[o] if is_click else start[s]
        high = low + 1 if is_click else start[s + 1]
        if following.size - pool[0] + pool[2] < (high - low) * width:
            return o
        n_touched[1] += 1
        for n in range(low, high):
            row = items[n]
            if row < 0:
                continue
            part, weight = _open(row, at[s], fading, epochs, head, following, slot_cluster, slot_sums)
            for k in range(width):
                cluster, w = clusters[s, k], float(weights[s, k])
                is_gone = 0 <= cluster < retired.size and retired[cluster]
                if cluster < 0 or w == 0.0 or weight == 0.0 or is_gone:
                    continue
                slot = slot_for(row, cluster * parts + part, head, following, slot_cluster, slot_sums, pool)
                if is_click:
                    slot_sums[slot, 0] += weight * w * reward[o]
                else:
                    slot_sums[slot, 1] += weight * w * w
            if not is_click:
                shown[row] += 1
            if not mark[row]:
                mark[row] = True
                touched[n_touched[0]] = row
                n_touched[0] += 1
    return int(kind.size)


@kernel
def fading_scores(
    candidates: Int32,
    clusters: Int32,
    weights: Float32,
    alpha: float,
    now: int,
    fading: float,
    epochs: Int64,
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
    """`bandits.ops.diagonal.ucb_scores` of what b and d - 1 are worth in the step `now`."""
    n_clusters, parts = clusters.size, epochs.shape[1]
    b, d, left = np.empty(n_clusters), np.empty(n_clusters), np.empty(parts)
    for i in range(candidates.size):
        row = candidates[i]
        known = 0 <= row < head.size
        widths[i] = alpha
        if row < 0:
            scores[i] = -np.inf
            continue
        # `shown` forgets nothing: an item that had its chance is uncertain again, not infinitely interesting.
        unseen = unseen_first and (not known or shown[row] == 0)
        if unseen and (row >= pending.size or pending[row] == 0):
            scores[i] = np.inf
            continue
        b[:], d[:] = 0.0, 1.0
        block = head[row] if known else -1
        if block >= 0:
            for p in range(parts):
                left[p] = worth(now - epochs[row, p], parts, fading)
        while block >= 0:
            for slot in range(block * SLOTS, block * SLOTS + SLOTS):
                if slot_cluster[slot] < 0:
                    continue
                cluster, part = slot_cluster[slot] // parts, slot_cluster[slot] % parts
                for k in range(n_clusters):
                    if clusters[k] == cluster:
                        b[k] += left[part] * slot_sums[slot, 0]
                        d[k] += left[part] * (slot_sums[slot, 1] - 1.0)
            block = following[block]
        mean, variance = 0.0, 0.0
        for k in range(n_clusters):
            if clusters[k] >= 0:
                w = float(weights[k])
                mean += w * b[k] / d[k]
                variance += w * w / d[k]
        widths[i] = alpha * math.sqrt(variance)
        scores[i] = mean + widths[i]
