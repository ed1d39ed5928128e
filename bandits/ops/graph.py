"""Edges between clusters and items in two views: a cluster's members and an item's clusters.

Slot s of a cluster has `members[s]` (W,) rows, the first `sizes[s, 0]` of them used, `sizes[s, 1]` of them
unexplored, with `affinity[s]` (W,). `edges[row]` (E,) are the cluster *ids* of an item, -1 for none, and
`slot_of[id]` a cluster's slot, -1 for one that does not live. `fresh[row]`: the item has not had its first
impressions. `moved[row]` is set where an item gets or loses an edge.
"""

from __future__ import annotations

import numpy as np

from bandits.ops.arrays import Bool, Float32, Float64, Int32
from stream.kernel import kernel

__all__ = [
    "UNKNOWN",
    "admits",
    "affinities_of",
    "clear_members",
    "exclude",
    "find",
    "find_member",
    "link",
    "seed_cluster",
    "set_members",
    "union",
    "unlink",
]

UNKNOWN = -2
"""In `floor`: nobody has looked for the weakest member since the cluster changed; -1 there is none."""
_MIX, _LOW, _HALF = np.uint64(2_654_435_769), np.uint64(2**32 - 1), np.uint64(32)


@kernel
def find(values: Int32, wanted: int) -> int:
    """Index of the first `wanted`; -1 if there is none."""
    for i in range(values.size):
        if values[i] == wanted:
            return i
    return -1


@kernel
def find_member(values: Int32, wanted: int) -> int:
    """As `find`, for long arrays in which `wanted` stands once at most: blocks of 32 take no branch."""
    for low in range(0, values.size, 32):
        found = -1
        for i in range(low, min(low + 32, values.size)):
            found = i if values[i] == wanted else found
        if found >= 0:
            return found
    return -1


@kernel
def affinities_of(rows: Int32, slots: Int32, members: Int32, affinity: Float32, sizes: Int32) -> Float32:
    """How well each of `rows` (n,), a member of the cluster in that of `slots` (n,), fits there."""
    out = np.zeros(rows.size, np.float32)
    for n in range(rows.size):
        s = slots[n]
        out[n] = affinity[s, find_member(members[s, : sizes[s, 0]], rows[n])]
    return out


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
    moved: Bool,
) -> None:
    """Remove the edge (row, cluster), which exists, from both views."""
    slot = slot_of[cluster]
    _remove_member(slot, find_member(members[slot, : sizes[slot, 0]], row), members, affinity, sizes, fresh)
    edges[row, find(edges[row], cluster)] = -1
    moved[row] = True


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
    floor: Int32,
) -> bool:
    """Whether a cluster takes this item: an unexplored one while there is room or quota, another on affinity.

    `floor` (slots,) remembers each cluster's weakest explored member; whoever changes a cluster's members or
    affinities makes it UNKNOWN.
    """
    if fresh[row]:
        return bool(sizes[slot, 0] < members.shape[1] or sizes[slot, 1] < quota)
    if sizes[slot, 0] < members.shape[1]:
        return True
    worst = floor[slot]
    if worst == UNKNOWN:
        worst = floor[slot] = _weakest(slot, members, affinity, sizes, fresh)
    return bool(worst >= 0 and affinity[slot, worst] < strength)


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
    moved: Bool,
    floor: Int32,
) -> bool:
    """Make the edge if the cluster admits it and the item has an edge left; a full cluster loses its
    weakest. `floor` is that of `admits`."""
    slot = slot_of[cluster]
    free = find(edges[row], -1)
    if free < 0 or not admits(row, slot, strength, quota, members, affinity, sizes, fresh, floor):
        return False
    floor[slot] = UNKNOWN
    if sizes[slot, 0] == members.shape[1]:
        loser = members[slot, _weakest(slot, members, affinity, sizes, fresh)]
        unlink(loser, cluster, slot_of, members, affinity, sizes, edges, fresh, moved)
    n = sizes[slot, 0]
    members[slot, n], affinity[slot, n] = row, strength
    sizes[slot, 0] = n + 1
    if fresh[row]:
        sizes[slot, 1] += 1
    edges[row, free] = cluster
    moved[row] = True
    return True


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
    moved: Bool,
) -> int:
    """Give a newborn cluster the members of its parent that have an edge left; returns how many."""
    slot, n_linked = slot_of[parent], 0
    floor = np.full(members.shape[0], UNKNOWN, np.int32)
    for i in range(sizes[slot, 0]):
        row, strength = members[slot, i], affinity[slot, i]
        if link(row, cluster, strength, quota, slot_of, members, affinity, sizes, edges, fresh, moved, floor):
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
    # The upper bits of the product: rows of one cluster often differ by multiples of the same number.
    mixed = np.uint64(np.uint32(row)) * _MIX & _LOW
    h = np.int64(mixed * np.uint64(table.size) >> _HALF)
    while table[h] >= 0 and table[h] != row:
        h = (h + 1) & (table.size - 1)
    return int(h)


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
        edges[members[slot, i], find(edges[members[slot, i]], cluster)] = -1
    sizes[slot] = 0


@kernel
def set_members(slot: int, cluster: int, rows: Int32, members: Int32, sizes: Int32, edges: Int32) -> None:
    """On a replica: these members (n,) for an empty cluster."""
    for i in range(rows.size):
        members[slot, i] = rows[i]
        edges[rows[i], find(edges[rows[i]], -1)] = cluster
    sizes[slot, 0] = rows.size
