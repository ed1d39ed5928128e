"""Rows of `policy` as changes of every policy and of the graph."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from bandits import DEFAULT_CLUSTER, Policy
from learning.rows.checks import check_id, only_finite
from learning.rows.codec import PolicyRow
from learning.rows.follow_items import ItemFrames
from learning.rows.follow_parts import FollowedParts
from learning.rows.places import HAS_POLICY
from stream.frame import Frame

__all__ = ["PolicyFrames"]

Int32 = npt.NDArray[np.int32]

_NO_ROWS = np.zeros(0, np.int32)
_NO_EDGES: Mapping[int, tuple[bool, float]] = {}


class PolicyFrames:
    """The newest policy row of each item that came since the last `take`; None where it was deleted.

    A shard keeps a cluster's items within `edges_per_cluster`, so the shards together may have more. Then
    the unexplored ones get half of the places at most and the best fitting the others, as on one machine.
    Clusters of which `control` does not know yet wait until it does.

    Grows with the edges of the graph: clusters x `edges_per_cluster` x shards, some 150 bytes each.

    Args:
        policies: by name, for what they keep.
        keys: what each is called in frames.
        max_items: of a cluster.
        items: gives items their rows.
    """

    def __init__(
        self, policies: Mapping[str, Policy], keys: Mapping[str, str], max_items: int, items: ItemFrames
    ) -> None:
        self.pending: dict[str, PolicyRow | None] = {}
        self._parts = FollowedParts(policies, "item", items.rows_of, keys)
        self._max_items, self._items = max_items, items
        self._members: dict[int, dict[int, tuple[bool, float]]] = {}
        self._serving: dict[int, list[int]] = {}
        self._published: set[int] = {DEFAULT_CLUSTER}
        self._version = 0
        self.refused = 0
        """Rows passed over because something in them is no finite number."""

    def put(self, name: str, row: PolicyRow | None) -> None:
        """Take note of the newest policy row of an item.

        Raises:
            FrameError: it is of another id.
        """
        if row is not None:
            check_id(name, row.item_id)
            self._parts.check(row.parts)
        self.pending[name] = row

    def take(self, clusters: set[int]) -> Frame:
        """Changes of every policy, by its key, and of `graph`; `clusters` are the living ones."""
        pending, self.pending = self.pending, {}
        gone = self._items.numbering.known([name for name, row in pending.items() if row is None])
        all_found = [row for row in pending.values() if row is not None]
        found = self._parts.fitting(only_finite(all_found, "<f4", lambda row: row.affinities))
        self.refused += len(all_found) - len(found)
        rows = self._items.mention([row.item_id for row in found])
        places = self._items.places
        places.keep_policies(rows, found)
        if rows.size and rows.min() < 0:
            found = [row for row, here in zip(found, (rows >= 0).tolist(), strict=True) if here]
            rows = rows[rows >= 0]
        places.mark(gone, HAS_POLICY, on=False)
        places.mark(rows, HAS_POLICY, on=True)
        gone = np.union1d(gone, places.evicted[~np.isin(places.evicted, rows)]).astype(np.int32)
        frame = self._parts.frames(rows, found, gone)
        every = np.concatenate([rows, gone])
        found += [PolicyRow(item_id="-")] * gone.size
        self._version += every.size
        graph = self._graph(every, found, clusters | {DEFAULT_CLUSTER})
        return {**frame, "graph": graph} if graph else frame

    @property
    def unknown(self) -> set[str]:
        """As `FollowedParts.unknown`."""
        return self._parts.unknown

    # -- the graph -------------------------------------------------------------------------------------------

    def _graph(self, rows: Int32, found: list[PolicyRow], clusters: set[int]) -> Frame:
        changed: set[int] = set()
        for row, policy in zip(rows.tolist(), found, strict=True):
            if policy.serving or row in self._serving:
                changed.update(self._serve(row, policy))
        gone = self._published - clusters
        changed = (changed | (clusters - self._published)) & clusters
        if not changed and not gone:
            return {}
        self._published = clusters
        self._version += 1
        order = sorted(changed)
        members = [self._chosen(cluster) for cluster in order]
        return {
            "version": self._version,
            "clusters": np.array(order, np.int32),
            "sizes": np.array([rows.size for rows in members], np.int32),
            "rows": np.concatenate([_NO_ROWS, *members]),
            "gone": np.array(sorted(gone), np.int32),
        }

    def _serve(self, row: int, policy: PolicyRow) -> list[int]:
        """Let an item be served in just these clusters; those that change by it."""
        left = self._serving.pop(row, [])
        for cluster in left:
            members = self._members[cluster]
            del members[row]
            if not members:
                del self._members[cluster]
        clusters: list[int] = np.frombuffer(policy.serving, "<i4").tolist()
        fits = np.frombuffer(policy.affinities, "<f4").tolist()
        is_new = not any(cells.get("shown") for cells in policy.parts.values())
        each_once = dict(zip(clusters, fits, strict=True))  # another program's row may name one twice
        for cluster, fit in each_once.items():
            self._members.setdefault(cluster, {})[row] = (is_new, fit)
        if clusters:
            self._serving[row] = list(each_once)
        return left + clusters

    def _chosen(self, cluster: int) -> Int32:
        """The items (n,) of a cluster, at most `max_items`."""
        members = self._members.get(cluster, _NO_EDGES)
        if len(members) > self._max_items:
            by_fit = sorted(members, key=lambda row: (-members[row][1], row))
            first = [row for row in by_fit if members[row][0]][: max(1, self._max_items // 2)]
            taken = set(first)
            return np.sort([*first, *(row for row in by_fit if row not in taken)][: self._max_items]).astype(
                np.int32
            )
        return np.sort(np.array(list(members), np.int32))

    # -- state -----------------------------------------------------------------------------------------------

    def snapshot(self) -> Frame:
        """All that was followed up to the last `take`."""
        edges = [
            (cluster, row, new, fit)
            for cluster, members in self._members.items()
            for row, (new, fit) in members.items()
        ]
        return {
            "edges": [list(edge) for edge in edges],
            "published": sorted(self._published),
            "version": self._version,
        }

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described."""
        self._members, self._serving, self.pending = {}, {}, {}
        for cluster, row, new, fit in frame["edges"]:
            self._members.setdefault(cluster, {})[row] = (new, fit)
            self._serving.setdefault(row, []).append(cluster)
        self._published, self._version = set(frame["published"]), frame["version"]
