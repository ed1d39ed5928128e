"""Keeps the live index in step with the item table and the catalogue."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from index import LiveIndex
from index.checks import has_direction
from index.ops.records import ALIVE, TIMED
from learners.catalogue import ALWAYS_MS, Catalogue
from learners.table import EmbeddingTable
from stream.frame import Frame

__all__ = ["ItemIndex"]

Int32 = npt.NDArray[np.int32]

_NEWEST = 1_024
_SLICE = 65_536
_NONE = np.zeros(0, np.int32)


class ItemIndex:
    """Items that may be served, by vector and by age.

    In the index are exactly the catalogue's items that are not deleted; groups and availability travel along
    as attributes (group number + 1, since 0 means no group there). `newest` lists up to 1,024 rows, the last
    entered first. `n_timed` counts rows that ever had a window of availability.

    A replica's table can keep its vectors here (`share_vectors`), so that they stand in memory once. Then a
    vector without a direction (zero, not finite, or longer than 1e15) takes its item out of the index until
    it has one.
    """

    def __init__(self, index: LiveIndex, items: EmbeddingTable, catalogue: Catalogue) -> None:
        self.index, self._items, self._catalogue = index, items, catalogue
        self.newest: Int32 = _NONE
        self._timed = np.zeros(0, np.bool_)
        self.n_timed = 0
        self._shares = False

    # --- the home of a replica's vectors (`learners.vector_home.VectorHome`) ---

    def share_vectors(self) -> None:
        """Let the item table keep its vectors in the index, which must have been made `as_given`."""
        self._shares = True
        self._items.house(self)

    @property
    def data(self) -> npt.NDArray[np.float32]:
        """The vectors (max_rows, dim) by row, at the length that they have."""
        return self.index.table.rows.vectors

    def put(self, rows: Int32, vectors: npt.NDArray[np.float32]) -> None:
        """Give `rows` (n,) these vectors (n, dim): searches see at once those that are in the index."""
        for start in range(0, rows.size, _SLICE):
            self._put(rows[start : start + _SLICE], vectors[start : start + _SLICE])

    def _put(self, rows: Int32, vectors: npt.NDArray[np.float32]) -> None:
        here = self._alive(rows)
        if not here.all():
            self.index.table.hold(rows[~here], vectors[~here])
            rows, vectors = rows[here], vectors[here]
        usable = has_direction(vectors)
        if not usable.all():
            self.index.remove(rows[~usable])
            self.index.table.hold(rows[~usable], vectors[~usable])
            rows, vectors = rows[usable], vectors[usable]
        if rows.size:
            self.index.upsert(rows, vectors)

    def clear(self, rows: Int32) -> None:
        """`rows` (n,) have no owner any more; walks may lead through where they were."""
        self.index.remove(rows)

    def _alive(self, rows: Int32) -> npt.NDArray[np.bool_]:
        alive: npt.NDArray[np.bool_] = self.index.table.rows.state[rows] & ALIVE != 0
        return alive

    # --- following ---

    def rebuild(self) -> None:
        """Start over from the tables, as after a snapshot was taken over.

        What the index held before stays where it agrees: a row that has not moved keeps its links.
        """
        alive = self.index.table.alive()
        stale = alive[~self._live(alive)]
        if stale.size:
            self.index.remove(stale)
        rows = np.flatnonzero(self._catalogue.known[: self._items.size]).astype(np.int32)
        state = self.index.table.rows.state[: self._catalogue.size]
        self._timed = state & TIMED != 0
        for start in range(0, rows.size, _SLICE):
            part = rows[start : start + _SLICE]
            self._write(part[self._live(part)])
        self._set_attributes(rows)
        self._remember_newest(rows)

    def apply(self, frame: Frame) -> None:
        """Follow one commit: the rows whose vector moved, and the items that were put or deleted."""
        owners: dict[str, Any] = frame.get("items") or {}
        put: dict[str, Any] = frame.get("catalogue") or {}
        # Frames of before had the vectors of a table beside its owners.
        rows = (frame.get("vectors") or {}).get("item", owners).get("rows", _NONE)
        gone = owners.get("removed", _NONE)
        if put:
            changed = np.asarray(put["rows"])
            rows = np.union1d(rows, changed).astype(np.int32)
            gone = np.union1d(gone, changed[~self._live(changed)]).astype(np.int32)
        if gone.size:
            self.index.remove(gone)
        if rows.size:
            self._write(rows[self._live(rows)])
        if put:
            self._set_attributes(changed)
            self._remember_newest(changed)

    def _live(self, rows: Int32) -> npt.NDArray[np.bool_]:
        out = np.zeros(rows.shape, np.bool_)
        inside = rows < min(self._catalogue.size, self._items.capacity)
        at = rows[inside]
        out[inside] = self._catalogue.known[at] & ~self._catalogue.deleted[at]
        return out

    def _write(self, rows: Int32) -> None:
        if self._shares:
            rows = rows[~self._alive(rows)]  # the others moved when the table was given their vectors
        if not rows.size:
            return
        vectors = self._items.data[rows]
        usable = has_direction(vectors)
        if not usable.all():
            rows, vectors = rows[usable], vectors[usable]
        if rows.size:
            self.index.upsert(rows, vectors)

    def _set_attributes(self, rows: Int32) -> None:
        rows = rows[self._live(rows)]
        if rows.size:
            c = self._catalogue
            self.index.set_attributes(rows, group=c.group[rows] + 1)
            # Most items are always available: searches need not look at times that nobody has given.
            windowed = (c.from_ms[rows] > 0) | (c.until_ms[rows] < ALWAYS_MS) | self._was_timed(rows)
            rows = rows[windowed]
        if rows.size:
            self.index.set_attributes(rows, from_ms=c.from_ms[rows], until_ms=c.until_ms[rows])
            self._timed[rows] = True
            self.n_timed = int(np.count_nonzero(self._timed))

    def _was_timed(self, rows: Int32) -> npt.NDArray[np.bool_]:
        if self._timed.size < self._catalogue.size:
            more = np.zeros(self._catalogue.size - self._timed.size, np.bool_)
            self._timed = np.concatenate([self._timed, more])
        return self._timed[rows]

    def _remember_newest(self, rows: Int32) -> None:
        rows = rows[self._live(rows)]
        if rows.size > _NEWEST:
            entered = self._catalogue.entered_ms[rows]
            bar = np.partition(entered, rows.size - _NEWEST)[rows.size - _NEWEST]
            later = rows[entered > bar]
            rows = np.concatenate([later, np.sort(rows[entered == bar])[: _NEWEST - later.size]])
        merged = np.union1d(self.newest, rows).astype(np.int32)
        merged = merged[self._live(merged)]
        order = np.lexsort((merged, -self._catalogue.entered_ms[merged]))
        self.newest = merged[order[:_NEWEST]]
