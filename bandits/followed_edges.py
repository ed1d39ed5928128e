"""What the owners of items say of their clusters, on a replica."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bandits.ops.arrays import Float32, Int32
from stream.frame import Frame

__all__ = ["FollowedEdges", "edges_between"]

_NOBODY: Mapping[int, tuple[bool, float]] = {}


class FollowedEdges:
    """The clusters in which each item may be offered, in whatever order its owner's word comes.

    A shard keeps a cluster's items within its share, so the shards together have `max_items` at most; while
    rows are on their way there may be more. Then the unexplored ones get half of the places at most and the
    best fitting the others, as on one machine.

    Grows with the edges of the graph: clusters x `max_items`, some 150 bytes each.

    Example:
        >>> edges = FollowedEdges(2)
        >>> rows, fits = np.array([5, 7, 8], np.int32), np.array([0.5, 0.25, 1], np.float32)
        >>> columns = {"edges": np.ones(3, np.int32), "clusters": np.zeros(3, np.int32), "affinities": fits}
        >>> sorted(edges.put(rows, {**columns, "explored": np.ones(3, np.bool_)}))
        [0]
        >>> edges.members(0).tolist()
        [5, 8]
    """

    def __init__(self, max_items: int) -> None:
        self._max_items = max_items
        self._members: dict[int, dict[int, tuple[bool, float]]] = {}
        self._clusters: dict[int, list[int]] = {}

    @property
    def rows(self) -> Int32:
        """The items that have an edge, ascending."""
        return np.array(sorted(self._clusters), np.int32)

    def put(self, rows: Int32, columns: Mapping[str, Any]) -> set[int]:
        """Let `rows` (n,) have just these edges; the clusters whose items change by it."""
        changed: set[int] = set()
        clusters, fits, low = columns["clusters"].tolist(), columns["affinities"].tolist(), 0
        counts, explored = columns["edges"].tolist(), columns["explored"].tolist()
        for row, n, is_known in zip(rows.tolist(), counts, explored, strict=True):
            if n or row in self._clusters:
                edges = zip(clusters[low : low + n], fits[low : low + n], strict=True)
                changed.update(self._replace(row, dict(edges), is_new=not is_known))
            low += n
        return changed

    def drop(self, rows: Int32) -> set[int]:
        """Let `rows` (n,) have no edge; the clusters whose items change by it."""
        held = (row for row in rows.tolist() if row in self._clusters)
        return {cluster for row in held for cluster in self._replace(row, {}, is_new=True)}

    def _replace(self, row: int, edges: Mapping[int, float], *, is_new: bool) -> list[int]:
        left = self._clusters.pop(row, [])
        for cluster in left:
            members = self._members[cluster]
            del members[row]
            if not members:
                del self._members[cluster]
        for cluster, fit in edges.items():
            self._members.setdefault(cluster, {})[row] = (is_new, fit)
        if edges:
            self._clusters[row] = list(edges)
        return [*left, *edges]

    def members(self, cluster: int) -> Int32:
        """The items (n,) of a cluster, ascending, at most `max_items`."""
        members = self._members.get(cluster, _NOBODY)
        if len(members) <= self._max_items:
            return np.sort(np.array(list(members), np.int32))
        by_fit = sorted(members, key=lambda row: (-members[row][1], row))
        first = [row for row in by_fit if members[row][0]][: max(1, self._max_items // 2)]
        taken = set(first)
        others = [row for row in by_fit if row not in taken]
        return np.sort(np.array([*first, *others][: self._max_items], np.int32))

    def of(self, rows: Int32) -> dict[str, Any]:
        """The columns of `rows` (n,), as `put` takes them."""
        held = [sorted(self._clusters.get(row, ())) for row in rows.tolist()]
        edges = [(row, cluster) for row, of in zip(rows.tolist(), held, strict=True) for cluster in of]
        fits: Float32 = np.array([self._members[cluster][row][1] for row, cluster in edges], np.float32)
        return {
            "edges": np.array(list(map(len, held)), np.int32),
            "clusters": np.array([cluster for _, cluster in edges], np.int32),
            "affinities": fits,
            "explored": np.array(
                [
                    bool(of) and not self._members[of[0]][r][0]
                    for r, of in zip(rows.tolist(), held, strict=True)
                ],
                np.bool_,
            ),
        }


def edges_between(before: Mapping[int, Sequence[int]], after: Mapping[int, Sequence[int]]) -> Frame:
    """The edges of every item, from the items of each cluster as they were and are.

    Example:
        >>> frame = edges_between({0: [7]}, {0: [5], 3: [5]})
        >>> frame["rows"].tolist(), frame["edges"].tolist(), frame["clusters"].tolist()
        ([5, 7], [2, 0], [0, 3])
    """
    held: dict[int, list[int]] = {row: [] for rows in before.values() for row in rows}
    for cluster, rows in sorted(after.items()):
        for row in rows:
            held.setdefault(row, []).append(cluster)
    every = sorted(held)
    counts = [len(held[row]) for row in every]
    return {
        "rows": np.array(every, np.int32),
        "edges": np.array(counts, np.int32),
        "clusters": np.array([cluster for row in every for cluster in held[row]], np.int32),
        "affinities": np.zeros(sum(counts), np.float32),
        "explored": np.array(counts, np.bool_),
    }
