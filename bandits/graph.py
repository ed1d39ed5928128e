"""The cluster-item graph: which items a cluster's users may be offered by a policy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import numpy as np

from bandits.centroids import DEFAULT_CLUSTER, Centroids
from bandits.errors import PolicyError
from bandits.followed_edges import FollowedEdges, edges_between
from bandits.ops import graph as ops
from bandits.ops.arms import count_outcomes
from bandits.ops.arrays import Float32, Float64, Int32, with_room
from bandits.ops.placing import next_known, place_items
from learners.part import Column, Columns, Part, PartSpec, Side
from learners.rows import RowBlock
from learners.table import EmbeddingTable
from stream.frame import Frame

__all__ = ["ClusterItemGraph"]

_NO_ROWS = np.zeros(0, np.int32)


class ClusterItemGraph(Part):
    """Edges between centroids and items; they decide who may be served, and nothing else.

    A cluster has at most `max_items` members, those with the largest inner product to its centroid; an item
    has at most `max_clusters` edges. A new item gets its edges at once: to the nearest centroids by inner
    product, or, without a usable vector, to the clusters with the fewest members. An *unexplored* item (fewer
    than `trial` served impressions) is never pushed out. It takes any empty place, and places of explored
    items while a cluster has fewer than `quota` unexplored ones; one that finds no place waits and is placed
    first at the next `refresh`. The default cluster (users of whom nothing is known) is a cluster like
    the others whose affinity is the item's smoothed reward rate, so it keeps new and well-liked items.

    When a centroid is born its cluster starts with those members of its parent that have an edge left; when
    one dies its edges go. `refresh` then moves edges to where item vectors have moved, a bounded number of
    items a call; as a part it does so at every tick, by the vectors of `items`, `budget` at a time.

    Replicas get the edges of each item that has got or lost one, with how well it fitted then. Owners of
    items may be many, so what they say is put together there (`FollowedEdges`); clusters whose centroid is
    not known yet wait until it is.

    Grows with the items (4 x `max_clusters` + 15 bytes each); clusters take at most
    8 x `max_items` bytes each, and 4 bytes for each centroid id ever used.

    Example:
        >>> centroids = Centroids(2)
        >>> centroids.observe(np.array([[1.0, 0.0]], np.float32))
        >>> graph = ClusterItemGraph(centroids)
        >>> graph.add_item(5, np.array([0.3, 0.1], np.float32))
        >>> graph.candidates(centroids.ids), graph.clusters_of(5)
        (array([5], dtype=int32), array([0, 1], dtype=int32))
    """

    def __init__(
        self,
        centroids: Centroids,
        *,
        max_items: int = 200,
        max_clusters: int = 8,
        quota: int | None = None,
        trial: int = 1,
        items: EmbeddingTable | None = None,
        budget: int = 256,
    ) -> None:
        quota = max(1, max_items // 2) if quota is None else quota
        if not (max_items >= 1 and max_clusters >= 2 and 1 <= quota <= max_items and trial >= 1):
            msg = (
                "a graph needs max_items >= 1, max_clusters >= 2 (one is for the default cluster), quota in "
                f"1..max_items and trial >= 1; got {max_items}, {max_clusters}, {quota}, {trial}"
            )
            raise PolicyError(msg)
        self.centroids = centroids
        self.max_items = max_items
        self.max_clusters = max_clusters
        self.quota = quota
        self.trial = trial
        self.budget = budget
        self._items = items
        edges = ("edges",)
        self.spec = PartSpec(
            {
                "item": (
                    Column("clusters", "i4", edges, most=max_clusters),
                    Column("affinities", "f4", edges, most=max_clusters), Column("explored", "?"),
                )
            }
        )  # fmt: skip
        self._clear()

    def _clear(self) -> None:
        n_slots = self.centroids.max_clusters + 1
        self.version = 0
        """Changes so far; each copy counts for itself."""
        self._structure = -1
        self._cursor = 0
        self._slot_of = np.zeros(1, np.int32)
        self._slot_id = np.full(n_slots, -1, np.int32)
        self._slot_id[0] = DEFAULT_CLUSTER
        self._members = np.full((n_slots, self.max_items), -1, np.int32)
        self._affinity = np.zeros((n_slots, self.max_items), np.float32)
        self._sizes = np.zeros((n_slots, 2), np.int32)
        self._edges = np.full((0, self.max_clusters), -1, np.int32)
        self._fresh = np.zeros(0, np.bool_)
        self._known = np.zeros(0, np.bool_)
        self._mark = np.zeros(0, np.bool_)
        self._shown = np.zeros(0, np.int64)
        self._reward = np.zeros(0)
        self._waiting: dict[int, None] = {}
        self._restored = np.zeros(0, np.int32)  # waiting, too; a replica, which places nothing, needs no dict
        self._moved = np.zeros(0, np.bool_)
        self._followed: FollowedEdges | None = None

    def ensure(self, n: int) -> None:
        """Make room for item rows 0..n - 1."""
        if n > self._known.size:
            self._known = with_room(self._known, n, fill=False)
            size = self._known.size
            self._fresh = with_room(self._fresh, size, fill=False)
            self._mark = with_room(self._mark, size, fill=False)
            self._moved = with_room(self._moved, size, fill=False)
            self._shown, self._reward = with_room(self._shown, size), with_room(self._reward, size)
            self._edges = with_room(self._edges, size, -1)

    # --- reading ---

    def __len__(self) -> int:
        """Number of edges."""
        return int(self._sizes[:, 0].sum())

    def candidates(self, clusters: Int32) -> Int32:
        """Item rows (n,) with an edge to any of these clusters, each once, ascending."""
        if self._followed is not None:
            self._follow_births()
        # In the order that members have come in, replicas would differ, and with them their draws.
        return np.sort(ops.union(clusters, self._slot_of, self._members, self._sizes))

    def exclude(self, clusters: Int32, candidates: Int32, scores: Float64) -> None:
        """Set the scores (n,) of candidates (n,) without an edge to any of these clusters to -inf."""
        if self._followed is not None:
            self._follow_births()
        ops.exclude(clusters, candidates, self._slot_of, self._members, self._sizes, scores)

    def clusters_of(self, row: int) -> Int32:
        """Ids of the clusters that an item has edges to, ascending."""
        if not 0 <= row < self._known.size:
            return np.zeros(0, np.int32)
        held = self._edges[row]
        return np.sort(held[held >= 0])

    def held(self, rows: Int32) -> tuple[Int32, Int32, Float32]:
        """How many clusters each of `rows` (n,) has an edge to, their ids by row and ascending, and how well
        the item fits there."""
        self.ensure(int(rows.max(initial=-1)) + 1)
        clusters = np.sort(self._edges[rows], axis=1)
        counts = (clusters >= 0).sum(axis=1, dtype=np.int32)
        clusters = clusters[clusters >= 0]
        slots, members = self._slot_of[clusters], np.repeat(rows, counts)
        affinity = ops.affinities_of(members, slots, self._members, self._affinity, self._sizes)
        return counts, clusters, affinity

    @property
    def waiting(self) -> int:
        """Unexplored items for which no cluster had a place yet."""
        return len(self._waiting) + self._restored.size

    @property
    def _queue(self) -> dict[int, None]:
        """The rows that wait, first come first."""
        if self._restored.size:
            self._waiting = dict.fromkeys(self._restored.tolist())
            self._restored = np.zeros(0, np.int32)
        return self._waiting

    # --- items come, go and are seen ---

    def add_item(self, row: int, vector: Float32 | None = None) -> None:
        """Give a new item its edges at once; an item that is here already keeps what it has."""
        if vector is not None and vector.shape != (self.centroids.dim,):
            msg = f"item {row}: a vector of shape ({self.centroids.dim},) is taken; got {vector.shape}"
            raise PolicyError(msg)
        own = np.zeros((1, self.centroids.dim), np.float32)
        if vector is not None:
            own[0] = vector
        self.add_items(np.array([row], np.int32), own)

    def add_items(self, rows: Int32, vectors: Float32) -> None:
        """`add_item` for distinct `rows` (n,) with their `vectors` (n, dim), zero where there is none."""
        self.ensure(int(rows.max(initial=-1)) + 1)
        new = (rows >= 0) & ~self._known[rows]
        rows, vectors = rows[new], vectors[new]
        if rows.size == 0:
            return
        self._known[rows] = True
        self._fresh[rows] = self._shown[rows] < self.trial
        self._follow_centroids()
        self._place(rows, vectors)

    def remove_items(self, rows: Int32) -> None:
        """Remove items with all their edges; the rows may be given to others."""
        if self._followed is not None:
            self._show(self._followed.drop(rows))
        for row in rows.tolist():
            if not 0 <= row < self._known.size:
                continue
            for cluster in self.clusters_of(row).tolist():
                self._unlink(row, cluster)
            self._known[row] = self._fresh[row] = False
            self._shown[row], self._reward[row] = 0, 0.0
            self._queue.pop(row, None)

    def learn(self, rows: RowBlock) -> None:
        """Count served impressions and rewards: what makes an item explored, and well-liked by anyone."""
        self.ensure(int(rows.items.max(initial=-1)) + 1)
        touched = count_outcomes(
            rows.kind, rows.slate, rows.place, rows.reward, rows.start, rows.items, rows.decided,
            self._shown, self._reward, self._mark,
        )  # fmt: skip
        explored = touched[self._fresh[touched] & (self._shown[touched] >= self.trial)]
        self._fresh[explored] = False
        held = self._edges[explored]
        np.subtract.at(self._sizes[:, 1], self._slot_of[held[held >= 0]], 1)
        self._moved[explored] |= (held >= 0).any(axis=1)

    def learn_items(self, block: RowBlock, parcel: Mapping[str, Columns]) -> None:
        """Learn a block where its items are owned."""
        self.learn(block)

    def tick(self, now_ms: int) -> None:
        """Look after the edges, where items are owned."""
        if self._items is not None:
            self.refresh(self._items.data[: self._items.size], self.budget)

    def remove(self, side: Side, rows: Int32) -> None:
        """As `remove_items`; users are nothing here."""
        if side == "item":
            self.remove_items(rows)

    def refresh(self, vectors: Float32, budget: int = 256) -> None:
        """Place items that wait, then move edges of the next `budget` items, in turn, to their best clusters.

        `vectors` (n, dim) is indexed by item row; a zero or not finite row is no usable vector.
        """
        if vectors.ndim != 2 or vectors.shape[1] != self.centroids.dim:
            msg = f"a refresh takes vectors (n, {self.centroids.dim}) by item row; got shape {vectors.shape}"
            raise PolicyError(msg)
        self._follow_centroids()
        rows = np.array(list(islice(self._queue, budget)), np.int32)
        self._place(rows, self._vectors(rows, vectors))
        rows = next_known(self._known, min(len(vectors), self._known.size), self._cursor, budget)
        if rows.size:
            self._cursor = int(rows[-1]) + 1
            self._place(rows, self._vectors(rows, vectors))

    # --- edges ---

    def _place(self, rows: Int32, vectors: Float32) -> None:
        """Link items (n,) to the clusters they should have; one that finds no place waits."""
        waits = np.zeros(rows.size, np.bool_)
        self.version += place_items(
            rows, vectors, self._cluster_ids, self._cluster_axes, self.quota, self._slot_of, self._members,
            self._affinity, self._sizes, self._edges, self._fresh, self._shown, self._reward, self._moved,
            waits,
        )  # fmt: skip
        for row, found_none in zip(rows.tolist(), waits.tolist(), strict=True):
            if found_none:
                self._queue[row] = None
            else:
                self._queue.pop(row, None)

    def _vectors(self, rows: Int32, vectors: Float32) -> Float32:
        """The vectors (n, dim) of these rows, zero for those beyond `vectors`."""
        out = np.zeros((rows.size, self.centroids.dim), np.float32)
        here = rows < len(vectors)
        out[here] = vectors[rows[here]]
        return out

    def _unlink(self, row: int, cluster: int) -> None:
        ops.unlink(
            row, cluster, self._slot_of, self._members, self._affinity, self._sizes, self._edges, self._fresh,
            self._moved,
        )  # fmt: skip
        self.version += 1

    def _follow_centroids(self) -> None:
        """Take over births and deaths of centroids."""
        self._cluster_ids = self.centroids.ids
        self._cluster_axes = np.ascontiguousarray(self.centroids.vectors.T)
        if self.centroids.structure == self._structure:
            return
        self._structure = self.centroids.structure
        held = self._slot_id[self._slot_id > DEFAULT_CLUSTER]
        for cluster in np.sort(held[~np.isin(held, self._cluster_ids)]).tolist():
            self._bury(cluster)
        for cluster, parent in zip(self._cluster_ids.tolist(), self.centroids.parents.tolist(), strict=True):
            if cluster not in held:
                self._open(cluster)
                source = parent if self._slot_of[parent] >= 0 else DEFAULT_CLUSTER
                self.version += 1 + ops.seed_cluster(
                    cluster, source, self.quota, self._slot_of, self._members, self._affinity,
                    self._sizes, self._edges, self._fresh, self._moved,
                )  # fmt: skip

    def _open(self, cluster: int) -> int:
        """A free slot for this cluster id."""
        slot = int(np.flatnonzero(self._slot_id < 0)[0])
        self._slot_of = with_room(self._slot_of, cluster + 1, -1)
        self._slot_of[cluster], self._slot_id[slot] = slot, cluster
        self._sizes[slot] = 0
        return slot

    def _bury(self, cluster: int) -> None:
        slot = int(self._slot_of[cluster])
        for row in self._members[slot, : self._sizes[slot, 0]].tolist():
            self._moved[row] = True
            held = self._edges[row]
            held[held == cluster] = -1
            if self._fresh[row] and (held < 0).all():
                self._queue[row] = None
        self._slot_of[cluster] = self._slot_id[slot] = -1
        self._sizes[slot] = 0
        self.version += 1

    # --- state ---

    def _frame(self, slots: Int32) -> Frame:
        """These clusters with their members, in order."""
        sizes = self._sizes[slots, 0]
        rows = [self._members[s, :n] for s, n in zip(slots.tolist(), sizes.tolist(), strict=True)]
        return {
            "version": self.version,
            "clusters": self._slot_id[slots],
            "sizes": sizes,
            "rows": np.concatenate([np.zeros(0, np.int32), *rows]),
        }

    def touched(self, side: Side) -> Int32:
        """Items that have got or lost an edge, or are explored now; replicas have none."""
        rows = np.flatnonzero(self._moved).astype(np.int32)
        self._moved[rows] = False
        return rows

    def export(self, side: Side, rows: Int32) -> Columns:
        """The clusters of `rows` (n,), ascending, how well each fits there, and whether it is explored."""
        if self._followed is not None:
            return self._followed.of(rows)
        counts, clusters, affinities = self.held(rows)
        explored = (counts > 0) & ~self._fresh[rows]
        return {"edges": counts, "clusters": clusters, "affinities": affinities, "explored": explored}

    def adopt(self, side: Side, rows: Int32, columns: Mapping[str, Any]) -> None:
        """On a replica: replace the edges of `rows` (n,)."""
        if not rows.size:
            return
        self.ensure(int(rows.max()) + 1)
        followed = self._followed or self._follow_from(self._columns())
        self._follow_births()
        self._show(followed.put(rows, columns))
        self._waiting, self._restored = {}, np.zeros(0, np.int32)
        self.version += rows.size

    def upgraded(self, frame: Frame) -> Frame:
        """Frames of before had the members of each cluster that had changed."""
        if "clusters" not in frame:
            return frame
        before = {
            c: self._members[self._slot_of[c], : self._sizes[self._slot_of[c], 0]].tolist()
            for c in self._open_ids()
        }
        cuts = np.split(frame["rows"], np.cumsum(frame["sizes"]))
        told = zip(frame["clusters"].tolist(), cuts[:-1], strict=True)
        after = {**before, **{cluster: rows.tolist() for cluster, rows in told}}
        for cluster in frame["gone"].tolist():
            after.pop(cluster, None)
        return {"item": edges_between(before, after)}

    def _open_ids(self) -> list[int]:
        """The clusters that have a slot, ascending."""
        return sorted(int(cluster) for cluster in self._slot_id if cluster >= 0)

    # --- following ---

    def _columns(self) -> Columns:
        """All edges that are here, with their rows."""
        is_held = (self._edges >= 0).any(axis=1)
        rows = np.flatnonzero(is_held).astype(np.int32) if self._followed is None else self._followed.rows
        return {"rows": rows, **self.export("item", rows)}

    def _follow_from(self, columns: Mapping[str, Any]) -> FollowedEdges:
        self._followed = FollowedEdges(self.max_items)
        self._followed.put(columns["rows"], columns)
        return self._followed

    def _follow_births(self) -> None:
        """On a replica: let clusters go whose centroid is gone, and show those whose centroid has come."""
        if self._structure == self.centroids.structure:
            return
        self._structure = self.centroids.structure
        ids, held = set(self.centroids.ids.tolist()), set(self._open_ids()) - {DEFAULT_CLUSTER}
        for cluster in sorted(held - ids):
            slot = int(self._slot_of[cluster])
            ops.clear_members(slot, cluster, self._members, self._sizes, self._edges)
            self._slot_of[cluster] = self._slot_id[slot] = -1
        born = sorted(ids - held)
        for cluster in born:
            self._open(cluster)
        self._show(born)

    def _show(self, clusters: Iterable[int]) -> None:
        """On a replica: give these clusters, as far as they live, the items that they have now."""
        slots = {
            cluster: int(self._slot_of[cluster])
            for cluster in sorted(clusters)
            if 0 <= cluster < self._slot_of.size and self._slot_of[cluster] >= 0
        }
        # All old members go before any new one comes, so that no item holds more edges than it may.
        for cluster, slot in slots.items():
            ops.clear_members(slot, cluster, self._members, self._sizes, self._edges)
        for cluster, slot in slots.items():
            rows = self._followed.members(cluster) if self._followed is not None else _NO_ROWS
            ops.set_members(slot, cluster, rows, self._members, self._sizes, self._edges)

    # --- state ---

    def snapshot(self) -> Frame:
        """Everything, affinities, counts and the refresh cursor included."""
        slots = np.flatnonzero(self._slot_id >= 0).astype(np.int32)
        rows = np.flatnonzero(self._known | (self._shown > 0)).astype(np.int32)
        return {
            **self._frame(slots),
            "slots": slots,
            "strengths": np.concatenate([self._affinity[s, : self._sizes[s, 0]] for s in slots.tolist()]),
            "fresh_sizes": self._sizes[slots, 1],
            "items": rows,
            "edges": self._edges[rows],
            "known": self._known[rows],
            "fresh": self._fresh[rows],
            "shown": self._shown[rows],
            "reward": self._reward[rows],
            "waiting": np.array(list(self._queue), np.int32),
            "cursor": self._cursor,
            "structure": self._structure,
            "followed": None if self._followed is None else self._columns(),
        }

    def restore(self, frame: Frame) -> None:
        """Become the state of a snapshot."""
        self._clear()
        self._slot_id[0] = self._slot_of[0] = -1
        low = 0
        parts = (frame["clusters"].tolist(), frame["slots"].tolist(), frame["sizes"].tolist())
        for cluster, slot, n in zip(*parts, strict=True):
            self._slot_of = with_room(self._slot_of, cluster + 1, -1)
            self._slot_of[cluster], self._slot_id[slot] = slot, cluster
            self._members[slot, :n] = frame["rows"][low : low + n]
            self._affinity[slot, :n] = frame["strengths"][low : low + n]
            low += n
        self._sizes[frame["slots"], 0], self._sizes[frame["slots"], 1] = frame["sizes"], frame["fresh_sizes"]
        items = frame["items"]
        self.ensure(int(items.max(initial=-1)) + 1)
        self._edges[items], self._known[items] = frame["edges"], frame["known"]
        self._fresh[items], self._shown[items] = frame["fresh"], frame["shown"]
        self._reward[items] = frame["reward"]
        self._restored = frame["waiting"]
        self._cursor, self._structure = int(frame["cursor"]), int(frame["structure"])
        self.version = int(frame["version"])
        if frame.get("followed") is not None:
            self._follow_from(frame["followed"])
            self._sizes[:], self._edges[:] = 0, -1
            self.ensure(int(frame["followed"]["rows"].max(initial=-1)) + 1)
            self._show(self._open_ids())
