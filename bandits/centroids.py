"""Online centroids of user vectors: the clusters that a request's context is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bandits.errors import PolicyError
from bandits.ops.arrays import Float32, Int32
from bandits.ops.centroids import observe, to_unit, top_context
from learners.part import Column, Columns, Part, PartSpec, Side, Table
from learners.rows import RowBlock
from learners.table import EmbeddingTable
from learners.touched import Touched
from stream.frame import Frame

__all__ = ["DEFAULT_CLUSTER", "Centroids"]

_MOST_BIRTHS = 1 << 24
_CENTROIDS, _COUNTERS = ("ids", "parents", "vectors", "counts", "spread"), ("version", "structure", "next_id")

DEFAULT_CLUSTER = 0
"""The cluster of users of whom nothing is known; it has no vector and never dies."""


class Centroids(Part):
    """Sequential k-means over user vectors of unit length, from one centroid up to `max_clusters`.

    A vector moves its nearest centroid by 1/n, n capped at `memory` so that centroids follow drift. A
    centroid that took `split_after` vectors since its last split, and is about as wide as the widest, gives
    birth to a new one where a vector lies farther away than its mean distance. Every `review_after` vectors
    the centroid with the fewest of late dies if it took less than a sixteenth of the average, so that a
    crowded place can split. Ids start at 1 and are never used again.

    The context of a user vector u: the `top` centroids by inner product, with weights
    ``softmax(<u, mu> / temperature)`` over just those (Eq. 10 of Online Matching). Vectors are taken at unit
    length, a departure from the paper, so that the temperature means the same while vectors grow. A zero,
    missing or not finite vector, and any before the first centroid: cluster 0 with weight 1.

    As a part it observes, at every tick, the `users` that moved since the last. On Kafka partition 0 does so:
    partitions are drawn by a hash, so its users are a fair sample. All owners of items get what it says in a
    parcel, in the order of their topic.

    Bounded: `max_clusters` rows of `dim` float32, and 5 bytes a user where it learns.

    Example:
        >>> centroids = Centroids(2, temperature=0.5)
        >>> centroids.context(np.array([1.0, 0.0], np.float32))
        (array([0], dtype=int32), array([1.], dtype=float32))
        >>> centroids.observe(np.array([[1.0, 0.0], [0.9, 0.1]], np.float32))
        >>> centroids.context(np.array([2.0, 0.0], np.float32))
        (array([1], dtype=int32), array([1.], dtype=float32))
    """

    def __init__(
        self,
        dim: int,
        *,
        max_clusters: int = 64,
        top: int = 4,
        temperature: float = 0.25,
        memory: int = 1_000,
        split_after: int = 32,
        review_after: int = 4_096,
        users: EmbeddingTable | None = None,
    ) -> None:
        if min(dim, max_clusters, top, memory, split_after, review_after) < 1 or not temperature > 0:
            msg = (
                f"centroids need positive settings; got dim={dim}, max_clusters={max_clusters}, top={top}, "
                f"temperature={temperature}, memory={memory}, split_after={split_after}, "
                f"review_after={review_after}"
            )
            raise PolicyError(msg)
        self.dim = dim
        self.max_clusters = max_clusters
        self.top = top
        self.temperature = temperature
        self.memory = memory
        self.split_after = split_after
        self.review_after = review_after
        self.spec = _spec(dim, max_clusters)
        self.moved = Touched()
        """Users whose vectors moved since the last tick."""
        self._users = users
        self._clear()

    def _clear(self) -> None:
        c = self.max_clusters
        self._state = np.array([0, 0, 1, 0], np.int64)
        self._ids = np.zeros((c, 2), np.int32)
        self._vectors = np.zeros((c, self.dim), np.float32)
        self._counts = np.zeros((c, 3), np.int64)
        self._spread = np.zeros(c)
        self._published = (0, 0)
        self._due = False

    @property
    def version(self) -> int:
        """Vectors taken so far; each moves a centroid."""
        return int(self._state[0])

    @property
    def structure(self) -> int:
        """Births and deaths so far."""
        return int(self._state[1])

    @property
    def ids(self) -> Int32:
        """Ids (c,) of the living centroids, ascending."""
        return self._ids[: self._state[3], 0].copy()

    @property
    def dead(self) -> Int32:
        """Ids (n,) that were given once and live no more, ascending; for `Policy.centroids_gone`."""
        return np.setdiff1d(np.arange(1, self._state[2], dtype=np.int32), self.ids)

    @property
    def parents(self) -> Int32:
        """The centroid (c,) that each living one was born from, alive or not; 0 for the first."""
        return self._ids[: self._state[3], 1].copy()

    @property
    def vectors(self) -> Float32:
        """Vectors (c, dim) of the living centroids, in the order of `ids`."""
        return self._vectors[: self._state[3]].copy()

    def context(self, vector: Float32 | None) -> tuple[Int32, Float32]:
        """Clusters (k,) by inner product, best first, and weights (k,) that sum to 1; k <= `top`."""
        n = int(self._state[3])
        unit = np.empty(self.dim, np.float32)
        if n == 0 or vector is None or not to_unit(self._checked(vector, (self.dim,)), unit):
            return np.array([DEFAULT_CLUSTER], np.int32), np.ones(1, np.float32)
        places, weights = top_context(unit, self._vectors, n, min(self.top, n), self.temperature)
        return self._ids[places, 0], weights

    def _checked(self, vectors: Float32, shape: tuple[int, ...]) -> Float32:
        if vectors.shape != shape:
            msg = f"user vectors of shape {vectors.shape} came; these centroids take {shape}, dim={self.dim}"
            raise PolicyError(msg)
        return vectors

    # --- learning ---

    def observe(self, vectors: Float32) -> None:
        """Take user vectors (n, dim), one after the other; those that are zero or not finite are left out."""
        observe(
            self._checked(vectors, (len(vectors), self.dim)), self.memory, self.split_after,
            self.review_after, self._state, self._ids, self._vectors, self._counts, self._spread,
        )  # fmt: skip

    def learn_users(
        self, block: RowBlock, inbox: Mapping[str, Mapping[str, Columns]]
    ) -> Mapping[str, Columns]:
        """Note whose vectors the factorisation has moved."""
        if self._users is not None:
            self.moved.ensure(self._users.capacity)
            self.moved.add(inbox["mf"]["moved"]["row"])
        return {}

    def tick(self, now_ms: int) -> Mapping[str, Columns] | None:
        """Observe the users that have moved; the next `changes` have the centroids as they are then."""
        version = self.version
        if self._users is not None:
            # In ascending order: the set does not depend on how events were cut into blocks, its order would.
            self.observe(self._users.data[self.moved.drain()])
        self._due = True
        if self.version == version:
            return None
        found = self.snapshot()
        return {
            "centroids": {name: found[name] for name in _CENTROIDS},
            "counters": {name: np.array([found[name]], np.int64) for name in _COUNTERS},
        }

    def learn_items(self, block: RowBlock, parcel: Mapping[str, Columns]) -> None:
        """Take over what their owner says; on one machine that is nothing new."""
        if "centroids" in parcel and int(parcel["counters"]["version"][0]) != self.version:
            self._take(_one(parcel))

    def remove(self, side: Side, rows: Int32) -> None:
        """Users that are gone do not count as moved."""
        if side == "user":
            moved = self.moved.peek()
            self.moved.put(moved[~np.isin(moved, rows)])

    # --- state ---

    def snapshot(self) -> Frame:
        """All centroids with the counts that decide splits and deaths."""
        n = int(self._state[3])
        return {
            "version": self.version,
            "structure": self.structure,
            "next_id": int(self._state[2]),
            "ids": self.ids,
            "parents": self.parents,
            "vectors": self.vectors,
            "counts": self._counts[:n].copy(),
            "spread": self._spread[:n].copy(),
            "moved": self.moved.peek(),
        }

    def restore(self, frame: Frame) -> None:
        """Become the state of a snapshot.

        Raises:
            PolicyError: it holds more centroids than `max_clusters`, vectors of another length, or what no
                snapshot holds; nothing was taken over.
        """
        n = int(frame["ids"].size)
        if n > self.max_clusters or frame["vectors"].shape != (n, self.dim):
            msg = (
                f"a snapshot of {n} centroids, vectors {frame['vectors'].shape}, does not fit "
                f"max_clusters={self.max_clusters}, dim={self.dim}; use the settings it was made with"
            )
            raise PolicyError(msg)
        _require_consistent(frame, n)
        self._take(frame)
        self.moved = Touched()
        if "moved" in frame:  # older snapshots have it beside the parts
            self.moved.put(frame["moved"])

    def _take(self, frame: Mapping[str, Any]) -> None:
        """Become what a consistent frame or columns say, which counts as published."""
        n = int(frame["ids"].size)
        self._clear()
        self._state[:] = frame["version"], frame["structure"], frame["next_id"], n
        self._ids[:n, 0], self._ids[:n, 1] = frame["ids"], frame["parents"]
        self._vectors[:n] = frame["vectors"]
        self._counts[:n], self._spread[:n] = frame["counts"], frame["spread"]
        self._published = (self.version, self.structure)

    # --- replication ---

    def touched(self, side: Side) -> Int32:
        """At once after a birth or death, after a tick if any moved."""
        version, structure = self._published
        if self.structure == structure and not (self._due and self.version != version):
            return np.zeros(0, np.int32)
        self._published, self._due = (self.version, self.structure), False
        return np.zeros(1, np.int32)

    def export(self, side: Side, rows: Int32) -> Columns:
        """All centroids with the counts that decide splits and deaths."""
        found = self.snapshot()
        counters = {name: np.array(found[name], np.int64) for name in _COUNTERS}
        return {**{name: found[name] for name in _CENTROIDS}, **counters}

    def adopt(self, side: Side, rows: Int32, columns: Mapping[str, Any]) -> None:
        """Take over all centroids."""
        self._take(columns)

    def check_shared(self, columns: Mapping[str, Any]) -> None:
        """Kernels and other parts follow these numbers without looking again."""
        numbers = {name: int(columns[name]) for name in _COUNTERS}
        _require_consistent({**columns, **numbers}, len(columns["ids"]))

    def check_parcel(self, tables: Mapping[str, Columns]) -> None:
        """As `check_shared`."""
        if any(len(array) != 1 for array in tables["counters"].values()):
            msg = "a parcel of centroids has one row of counters; is it damaged?"
            raise PolicyError(msg)
        if len(tables["centroids"]["ids"]) > self.max_clusters:
            msg = f"a parcel has more than {self.max_clusters} centroids; give all programs the same settings"
            raise PolicyError(msg)
        self.check_shared(_one(tables))

    def upgraded(self, frame: Frame) -> Frame:
        """Frames of before had all of it, without saying that it is shared."""
        return {"shared": {"rows": np.zeros(1, np.int32), **frame}} if "ids" in frame else frame


def _spec(dim: int, most: int) -> PartSpec:
    def columns(*shape: str) -> tuple[Column, ...]:
        return (
            Column("ids", "i4", shape, most=most), Column("parents", "i4", shape, most=most),
            Column("vectors", "f4", (*shape, dim), most=most), Column("counts", "i8", (*shape, 3), most=most),
            Column("spread", "f8", shape, most=most),
        )  # fmt: skip

    counters = tuple(Column(name, "i8") for name in _COUNTERS)
    parcel = {"centroids": Table(columns(), to=None), "counters": Table(counters, to=None)}
    return PartSpec({"shared": (*columns("clusters"), *counters)}, parcel, ("mf",))


def _one(tables: Mapping[str, Columns]) -> dict[str, Any]:
    """The tables of a parcel as one frame."""
    return {**tables["centroids"], **{name: int(array[0]) for name, array in tables["counters"].items()}}


def _require_consistent(frame: Frame, n: int) -> None:
    """Kernels and other parts follow these numbers without looking again.

    Raises:
        PolicyError: they cannot be of a snapshot.
    """
    ids, parents, next_id = frame["ids"], frame["parents"], frame["next_id"]
    counts = (frame["version"], frame["structure"], next_id)
    if (
        any(type(count) is not int or count < 0 for count in counts)
        # `dead` lists all ids ever given; each was a change of the structure.
        or not n < next_id <= frame["structure"] + 1 <= _MOST_BIRTHS
        or ids.shape != (n,)
        or (n and not (int(ids.min()) >= 1 and int(ids.max()) < next_id and bool((np.diff(ids) > 0).all())))
        or parents.shape != (n,)
        or (n and not 0 <= int(parents.min()) <= int(parents.max()) < next_id)
        or frame["counts"].shape != (n, 3)
        or frame["spread"].shape != (n,)
        or not all(np.isfinite(frame[name]).all() for name in ("vectors", "counts", "spread"))
    ):
        msg = "a snapshot of centroids whose ids, counts or vectors do not fit each other; is it damaged?"
        raise PolicyError(msg)
