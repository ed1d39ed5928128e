"""Which clusters items should have edges to, and giving them those; the arrays are those of
`bandits.ops.graph`."""

from __future__ import annotations

import numpy as np

from bandits.ops.arrays import Bool, Float32, Float64, Int32, Int64
from bandits.ops.graph import UNKNOWN, admits, find, find_member, link, unlink
from stream.kernel import kernel

__all__ = ["next_known", "place_items"]


@kernel
def _best_first(keys: Float32, order: Int32, n: int) -> None:
    """Write the places of the `n` largest keys (m,), n <= m, into `order`; of equal ones the first leads."""
    filled = 0
    for i in range(keys.size):
        if filled == n and not keys[i] > keys[order[n - 1]]:
            continue
        filled = min(filled + 1, n)
        j = filled - 1
        while j > 0 and keys[order[j - 1]] < keys[i]:
            order[j] = order[j - 1]
            j -= 1
        order[j] = i


@kernel
def _usable(vector: Float32) -> bool:
    """Whether a vector is finite and not zero."""
    any_set = False
    for value in vector:
        if not np.isfinite(value):
            return False
        any_set = any_set or value != 0.0
    return any_set


@kernel
def _wishes(
    row: int,
    vector: Float32,
    ids: Int32,
    axes: Float32,
    slot_of: Int32,
    sizes: Int32,
    shown: Int64,
    reward: Float64,
    strengths: Float32,
    keys: Float32,
) -> bool:
    """Strengths (1 + c,) of an item's edges to the default cluster and to `ids` (c,), and the keys to sort
    those by.

    Inner products with the centroids, whose coordinates are `axes` (dim, c), where the vector is usable;
    else zeros, sorted by the number of members; returns which. The default cluster comes first; its strength
    is the smoothed reward rate.
    """
    strengths[:] = 0.0
    # A few coordinates of all centroids at a time: each sum keeps its order, and wide registers serve.
    usable = _usable(vector)
    products = strengths[1:]
    if usable:
        whole = vector.size // 4 * 4
        for j in range(0, whole, 4):
            v0, v1, v2, v3 = vector[j], vector[j + 1], vector[j + 2], vector[j + 3]
            a0, a1, a2, a3 = axes[j], axes[j + 1], axes[j + 2], axes[j + 3]
            for c in range(products.size):
                products[c] = (((products[c] + v0 * a0[c]) + v1 * a1[c]) + v2 * a2[c]) + v3 * a3[c]
        for j in range(whole, vector.size):
            for c in range(products.size):
                products[c] += vector[j] * axes[j, c]
    strengths[0] = (reward[row] + 1.0) / (shown[row] + 20.0)
    keys[0] = np.inf
    for c in range(products.size):
        keys[c + 1] = products[c] if usable else -sizes[slot_of[ids[c]], 0]
        if np.isnan(keys[c + 1]):
            keys[c + 1] = -np.inf
    return usable


@kernel
def _linked(edges: Int32) -> bool:
    """Whether an item has an edge."""
    for cluster in edges:  # noqa: SIM110 (a generator does not compile)
        if cluster >= 0:
            return True
    return False


@kernel
def _wanted(cluster: int, clusters: Int32, order: Int32, n: int) -> bool:
    """Whether a cluster is among the first `n` of `order`."""
    for i in range(n):  # noqa: SIM110 (a generator does not compile)
        if clusters[order[i]] == cluster:
            return True
    return False


@kernel
def _relink(
    row: int,
    clusters: Int32,
    strengths: Float32,
    keys: Float32,
    order: Int32,
    quota: int,
    slot_of: Int32,
    members: Int32,
    affinity: Float32,
    sizes: Int32,
    edges: Int32,
    fresh: Bool,
    moved: Bool,
    floor: Int32,
) -> int:
    """Give an item the edges it wants, best first; returns how many edges changed.

    The first E by `keys` are the ones it should have; an unexplored item that gets none of them takes the
    first of the others that admits it. Edges it does not want go, once it has one that it wants. `order`
    (m,) is scratch, `floor` that of `admits`.
    """
    n_best = min(edges.shape[1], order.size)
    _best_first(keys, order, n_best)
    n_changed, n_held, n_looked = 0, 0, n_best
    for i in range(order.size):
        if i >= n_best:
            if n_held > 0 or not fresh[row]:
                break
            if i == n_best:
                _best_first(keys, order, order.size)
            n_looked = i + 1
        cluster, strength = clusters[order[i]], strengths[order[i]]
        slot = slot_of[cluster]
        if find(edges[row], cluster) >= 0:
            affinity[slot, find_member(members[slot, : sizes[slot, 0]], row)] = strength
            floor[slot] = UNKNOWN
            n_held += 1
            continue
        if not admits(row, slot, strength, quota, members, affinity, sizes, fresh, floor):
            continue
        if find(edges[row], -1) < 0:
            for j in range(edges.shape[1]):
                if not _wanted(edges[row, j], clusters, order, n_best):
                    floor[slot_of[edges[row, j]]] = UNKNOWN
                    unlink(row, edges[row, j], slot_of, members, affinity, sizes, edges, fresh, moved)
                    break
        link(row, cluster, strength, quota, slot_of, members, affinity, sizes, edges, fresh, moved, floor)
        n_changed += 1
        n_held += 1
    for j in range(edges.shape[1]):
        cluster = edges[row, j]
        if cluster >= 0 and n_held > 0 and not _wanted(cluster, clusters, order, n_looked):
            floor[slot_of[cluster]] = UNKNOWN
            unlink(row, cluster, slot_of, members, affinity, sizes, edges, fresh, moved)
            n_changed += 1
    return n_changed


@kernel
def place_items(
    rows: Int32,
    vectors: Float32,
    ids: Int32,
    axes: Float32,
    quota: int,
    slot_of: Int32,
    members: Int32,
    affinity: Float32,
    sizes: Int32,
    edges: Int32,
    fresh: Bool,
    shown: Int64,
    reward: Float64,
    moved: Bool,
    waits: Bool,
) -> int:
    """Link items `rows` (n,), one after the other, to the clusters they should have; returns how many edges
    changed.

    `vectors` (n, dim), a zero row for none; `ids` (c,) living centroids, `axes` (dim, c) their coordinates.
    An item without a usable vector keeps the edges it has. `waits` (n,) is set for those that found no place.
    """
    n_changed = 0
    clusters = np.zeros(ids.size + 1, np.int32)
    clusters[1:] = ids
    strengths, keys = np.empty(clusters.size, np.float32), np.empty(clusters.size, np.float32)
    order, floor = np.empty(clusters.size, np.int32), np.full(members.shape[0], UNKNOWN, np.int32)
    for n in range(rows.size):
        row = rows[n]
        usable = _wishes(row, vectors[n], ids, axes, slot_of, sizes, shown, reward, strengths, keys)
        if usable or not _linked(edges[row]):
            n_changed += _relink(
                row, clusters, strengths, keys, order, quota,
                slot_of, members, affinity, sizes, edges, fresh, moved, floor,
            )  # fmt: skip
        waits[n] = fresh[row] and not _linked(edges[row])
    return n_changed


@kernel
def next_known(known: Bool, n: int, first: int, budget: int) -> Int32:
    """Up to `budget` rows below `n` that are known, from `first` on and around; each at most once."""
    out, filled = np.empty(max(0, min(n, budget)), np.int32), 0
    begin = first if first < n else 0
    for i in range(n):
        if filled == out.size:
            break
        row = begin + i if begin + i < n else begin + i - n
        if known[row]:
            out[filled] = row
            filled += 1
    return out[:filled]
