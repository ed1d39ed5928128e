"""Edges between clusters and items in two views: a cluster's members and an item's clusters.

Slot s of a cluster has `members[s]` (W,) rows, the first `sizes[s, 0]` of them used, `sizes[s, 1]` of them
unexplored, with `affinity[s]` (W,). `edges[row]` (E,) are the cluster *ids* of an item, -1 for none, and
`slot_of[id]` a cluster's slot, -1 for one that does not live. `fresh[row]`: the item has not had its first
impressions.
"""

from __future__ import annotations

import numpy as np

from bandits.ops.arrays import Bool, Float32, Float64, Int32
from stream.kernel import kernel

__all__ = [
    "admits",
    "clear_members",
    "exclude",
    "link",
    "relink",
    "seed_cluster",
    "set_members",
    "union",
    "unlink",
]


@kernel
def _find(values: Int32, wanted: int) -> int:
    for i in range(values.size):
        if values[i] == wanted:
            return i
    return -1


@kernel
def _weakest(slot: int, members: Int32, affinity: Float32, sizes: Int32, fresh: Bool) -> int:
    """Place of the explored member with the least affinity; -1 if all are unexplored."""
    worst = -1
    for i in range(sizes[slot, 0]):
        if not fresh[members[slot, i]] and (worst < 0 or affinity[slot, i] < affinity[slot, worst]):
            worst = i
    return worst


@kernel
def _remove_member(slot: int, i: int, members: Int32, affinity: Float32, sizes: Int32, fresh: Bool) -> None:
    last = sizes[slot, 0] - 1
    if fresh[members[slot, i]]:
        sizes[slot, 1] -= 1
    members[slot, i], affinity[slot, i] = members[slot, last], affinity[slot, last]
    sizes[slot, 0] = last


@kernel
def unlink(
    row: int,
    cluster: int,
    slot_of: Int32,
    members: Int32,
    affinity: Float32,
    sizes: Int32,
    edges: Int32,
    fresh: Bool,
) -> None:
    """Remove the edge (row, cluster), which exists, from both views."""
    slot = slot_of[cluster]
    _remove_member(slot, _find(members[slot, : sizes[slot, 0]], row), members, affinity, sizes, fresh)
    edges[row, _find(edges[row], cluster)] = -1


@kernel
def admits(
    row: int,
    slot: int,
    strength: float,
    quota: int,
    members: Int32,
    affinity: Float32,
    sizes: Int32,
    fresh: Bool,
) -> bool:
    """Whether a cluster takes this item: an unexplored one while there is room or quota, another on
    affinity."""
    if fresh[row]:
        return bool(sizes[slot, 0] < members.shape[1] or sizes[slot, 1] < quota)
    if sizes[slot, 0] < members.shape[1]:
        return True
    worst = _weakest(slot, members, affinity, sizes, fresh)
    return worst >= 0 and affinity[slot, worst] < strength


@kernel
def link(
    row: int,
    cluster: int,
    strength: float,
    quota: int,
    slot_of: Int32,
    members: Int32,
    affinity: Float32,
    sizes: Int32,
    edges: Int32,
    fresh: Bool,
) -> bool:
    """Make the edge if the cluster admits it and the item has an edge left; a full cluster loses its
    weakest."""
    slot = slot_of[cluster]
    free = _find(edges[row], -1)
    if free < 0 or not admits(row, slot, strength, quota, members, affinity, sizes, fresh):
        return False
    if sizes[slot, 0] == members.shape[1]:
        loser = members[slot, _weakest(slot, members, affinity, sizes, fresh)]
        unlink(loser, cluster, slot_of, members, affinity, sizes, edges, fresh)
    n = sizes[slot, 0]
    members[slot, n], affinity[slot, n] = row, strength
    sizes[slot, 0] = n + 1
    if fresh[row]:
        sizes[slot, 1] += 1
    edges[row, free] = cluster
    return True


@kernel
def relink(
    row: int,
    wanted: Int32,
    strengths: Float32,
    n_best: int,
    quota: int,
    slot_of: Int32,
    members: Int32,
    affinity: Float32,
    sizes: Int32,
    edges: Int32,
    fresh: Bool,
    changed: Bool,
) -> int:
    """Give an item the edges it wants, best first; returns how many edges changed, and marks `changed` slots.

    Of `wanted` (m,) the first `n_best` are the ones it should have; an unexplored item that gets none of them
    takes the first of the others that admits it. Edges it does not want go, once it has one that it wants.
    """
    best = wanted[:n_best]
    n_changed, n_held, n_looked = 0, 0, n_best
    for i in range(wanted.size):
        cluster = wanted[i]
        slot = slot_of[cluster]
        if i >= n_best and (n_held > 0 or not fresh[row]):
            break
        n_looked = max(n_looked, i + 1)
        if _find(edges[row], cluster) >= 0:
            affinity[slot, _find(members[slot, : sizes[slot, 0]], row)] = strengths[i]
            n_held += 1
            continue
        if not admits(row, slot, strengths[i], quota, members, affinity, sizes, fresh):
            continue
        if _find(edges[row], -1) < 0:
            for j in range(edges.shape[1]):
                if _find(best, edges[row, j]) < 0:
                    changed[slot_of[edges[row, j]]] = True
                    unlink(row, edges[row, j], slot_of, members, affinity, sizes, edges, fresh)
                    break
        link(row, cluster, strengths[i], quota, slot_of, members, affinity, sizes, edges, fresh)
        changed[slot] = True
        n_changed += 1
        n_held += 1
    for j in range(edges.shape[1]):
        cluster = edges[row, j]
        if cluster >= 0 and n_held > 0 and _find(wanted[:n_looked], cluster) < 0:
            changed[slot_of[cluster]] = True
            unlink(row, cluster, slot_of, members, affinity, sizes, edges, fresh)
            n_changed += 1
    return n_changed


@kernel
def seed_cluster(
    cluster: int,
    parent: int,
    quota: int,
    slot_of: Int32,
    members: Int32,
    affinity: Float32,
    sizes: Int32,
    edges: Int32,
    fresh: Bool,
) -> int:
    """Give a newborn cluster the members of its parent that have an edge left; returns how many."""
    slot, n_linked = slot_of[parent], 0
    for i in range(sizes[slot, 0]):
        strength = affinity[slot, i]
        if link(members[slot, i], cluster, strength, quota, slot_of, members, affinity, sizes, edges, fresh):
            n_linked += 1
    return n_linked


@kernel
def _fill_table(
    clusters: Int32, slot_of: Int32, members: Int32, sizes: Int32, out: Int32
) -> tuple[Int32, int]:
    """A hash table of the members of all these clusters, and their number; `out` gets each once."""
    room = 16
    while room < 2 * out.size:
        room *= 2
    table, n = np.full(room, -1, np.int32), 0
    for cluster in clusters:
        if not (0 <= cluster < slot_of.size and slot_of[cluster] >= 0):
            continue
        slot = slot_of[cluster]
        for i in range(sizes[slot, 0]):
            row = members[slot, i]
            h = _place_of(row, table)
            if table[h] < 0:
                table[h] = row
                out[n] = row
                n += 1
    return table, n


@kernel
def _place_of(row: int, table: Int32) -> int:
    """Where `row` is in the table, or where it would go; the table is never more than half full."""
    h = (row * 40503) & (table.size - 1)
    while table[h] >= 0 and table[h] != row:
        h = (h + 1) & (table.size - 1)
    return h


@kernel
def _count_members(clusters: Int32, slot_of: Int32, sizes: Int32) -> int:
    total = 0
    for cluster in clusters:
        if 0 <= cluster < slot_of.size and slot_of[cluster] >= 0:
            total += sizes[slot_of[cluster], 0]
    return total


@kernel
def union(clusters: Int32, slot_of: Int32, members: Int32, sizes: Int32) -> Int32:
    """Members of all these clusters, each once, in the order met; unknown clusters have none."""
    out = np.empty(_count_members(clusters, slot_of, sizes), np.int32)
    _, n = _fill_table(clusters, slot_of, members, sizes, out)
    return out[:n]


@kernel
def exclude(
    clusters: Int32, candidates: Int32, slot_of: Int32, members: Int32, sizes: Int32, scores: Float64
) -> None:
    """Set the score of every candidate without an edge to one of `clusters` to -inf."""
    out = np.empty(_count_members(clusters, slot_of, sizes), np.int32)
    table, _ = _fill_table(clusters, slot_of, members, sizes, out)
    for i in range(candidates.size):
        row = candidates[i]
        if row < 0 or table[_place_of(row, table)] != row:
            scores[i] = -np.inf


@kernel
def clear_members(slot: int, cluster: int, members: Int32, sizes: Int32, edges: Int32) -> None:
    """On a replica: a cluster without members."""
    for i in range(sizes[slot, 0]):
        edges[members[slot, i], _find(edges[members[slot, i]], cluster)] = -1
    sizes[slot] = 0


@kernel
def set_members(slot: int, cluster: int, rows: Int32, members: Int32, sizes: Int32, edges: Int32) -> None:
    """On a replica: these members (n,) for an empty cluster."""
    for i in range(rows.size):
        members[slot, i] = rows[i]
        edges[rows[i], _find(edges[rows[i]], -1)] = cluster
    sizes[slot, 0] = rows.size
