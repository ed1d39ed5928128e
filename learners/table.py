"""The embedding table: every id has a row of its own, or none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from learners.admission import Admission, Gate
from learners.count_filter import key_of
from learners.errors import LearnerError, ReplicaError, ShapeError
from learners.ids import IdMap
from learners.ops.hashing import fill_vectors
from learners.touched import Touched, grown, roomier
from learners.vector_home import VectorHome
from stream.frame import Frame

__all__ = ["EmbeddingTable"]

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]

_NO_ROWS = np.zeros(0, np.int32)
_MANY = 128  # ids from which the compiled map is faster than the dictionary


class EmbeddingTable:
    """A collisionless table from id to row; vectors lie in one contiguous float32 array (capacity, dim).

    *Reading* (`find`, `vectors`) never writes: an unknown id is row -1 and the zero vector. *Sighting*
    (`rows`) admits ids by the rule of `admission`. A new row starts with a vector that depends on `seed` and
    the id only, so the order of arrival does not matter. After Monolith (arXiv 2209.07663,
    section 2.2); a dictionary stands in for its cuckoo table: it, too, grows and no two keys share a place.

    What grows: rows, up to `max_rows`. At a tick, rows untouched for `ttl_ms` (0: for ever) are freed, at
    most one sweep every `sweep_ms`; above seven eighths of `max_rows` the longest untouched go too. Between
    ticks a full table refuses new ids (`refused` counts them); the last `reserve` rows are for those that are
    admitted past the rule (`admit`). A freed row is used again after the *next*
    tick, so that row numbers depend on the events alone and not on when the changes were published.

    Parameters: `dim` numbers a vector; `scale` the expected length of an initial vector. Public arrays, to be
    read only below `size`: `data`, `clicks`, `impressions`, `version` (updates of the vector), `touched_at`
    (event time in ms). `token` is an object that is replaced whenever rows may have changed owner. The
    vectors of a replica may live elsewhere (`house`).

    Example:
        >>> table = EmbeddingTable(2, seed=1)
        >>> table.rows(["a", "b", "a"], ts=10)
        array([0, 1, 0], dtype=int32)
        >>> table.find(["b", "stranger"])
        array([ 1, -1], dtype=int32)
        >>> bool(table.vectors(["stranger"]).any()), len(table)
        (False, 2)
    """

    def __init__(
        self,
        dim: int,
        *,
        seed: int = 0,
        scale: float = 0.1,
        admission: Admission | None = None,
        ttl_ms: int = 0,
        max_rows: int = 2_000_000,
        sweep_ms: int = 60_000,
        initial_rows: int = 1_024,
        reserve: int = 0,
    ) -> None:
        if dim < 1 or max_rows < 8 or initial_rows < 1 or ttl_ms < 0:
            msg = (
                f"a table needs dim >= 1, max_rows >= 8, initial_rows >= 1 and ttl_ms >= 0; got {dim}, "
                f"{max_rows}, {initial_rows}, {ttl_ms}"
            )
            raise LearnerError(msg)
        self.dim, self.seed, self.scale = dim, seed, scale
        self.ttl_ms, self.max_rows, self.sweep_ms = ttl_ms, max_rows, sweep_ms
        self._most_sighted = max_rows - reserve
        self.admission = admission or Admission()
        self._gate = Gate(self.admission, seed=seed)
        capacity = min(initial_rows, max_rows)
        self.data: Float32 = np.zeros((capacity, dim), np.float32)
        self._home: VectorHome | None = None
        self.clicks = np.zeros(capacity, np.int64)
        self.impressions = np.zeros(capacity, np.int64)
        self.version = np.zeros(capacity, np.int64)
        self.touched_at = np.zeros(capacity, np.int64)
        self._has_owner = np.zeros(capacity, np.bool_)
        self._ids: list[str | None] = []
        self._row: dict[str, int] = {}
        self._map: IdMap | None = None
        self._unmapped: list[str] = []
        self._free: list[int] = []
        self._quarantine: list[int] = []
        self.entering: list[tuple[int, int, int]] = []
        self._swept_ms = -(1 << 62)
        self.refused = 0
        self.token = object()
        self.moved = Touched(capacity)
        self.counted = Touched(capacity)
        self._new = Touched(capacity)
        self._removed = Touched(capacity)

    # -- reading ---------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """Live ids."""
        return len(self._row)

    def __contains__(self, name: str) -> bool:
        """Whether the id has a row."""
        return name in self._row

    @property
    def size(self) -> int:
        """One more than the highest row number ever used."""
        return len(self._ids)

    @property
    def capacity(self) -> int:
        """Rows that the arrays can hold now."""
        return len(self.clicks)

    @property
    def live(self) -> Int32:
        """The rows in use, ascending."""
        return np.flatnonzero(self._has_owner[: self.size]).astype(np.int32)

    def find(self, ids: Sequence[str]) -> Int32:
        """Rows of `ids`, -1 where unknown; (n,)."""
        return np.array(self.rows_of(ids), np.int32)

    def rows_of(self, ids: Sequence[str]) -> list[int]:
        """As `find`, as a list."""
        found: list[Any] = list(map(self._row.get, ids))
        return [-1 if row is None else row for row in found] if None in found else found

    def find_many(self, ids: Sequence[str]) -> Int32:
        """As `find`, for hundreds at once: the first call makes a second, compiled map beside the dictionary,
        which only a table that is asked in this way has."""
        return self.find(ids) if len(ids) < _MANY else self._mapped().find(ids)

    def _mapped(self) -> IdMap:
        """The compiled map, up to date."""
        if self._map is None:
            self._map, self._unmapped = IdMap(), list(self._row)
        if self._unmapped:
            self._map.put(self._unmapped, self.find(self._unmapped))
            self._unmapped = []
        return self._map

    def row_of(self, name: str) -> int:
        """The row of an id, -1 where unknown."""
        return self._row.get(name, -1)

    def id_of(self, row: int) -> str | None:
        """The id that owns `row`; None if nobody does."""
        return self._ids[row] if 0 <= row < len(self._ids) else None

    def ids_of(self, rows: Int32) -> list[str | None]:
        """The owners of `rows`."""
        if rows.size and (int(rows.min()) < 0 or int(rows.max()) >= len(self._ids)):
            return [self.id_of(row) for row in rows.tolist()]
        return list(map(self._ids.__getitem__, rows.tolist()))

    def vectors(self, ids: Sequence[str]) -> Float32:
        """Vectors (n, dim), a copy; zeros where unknown."""
        return self.gather(self.find(ids))

    def gather(self, rows: Int32) -> Float32:
        """Vectors of `rows` (n, dim), a copy; zeros for negative rows."""
        out = self.data[rows]
        out[rows < 0] = 0.0
        return out

    # -- writing ---------------------------------------------------------------------------------------------

    def rows(self, ids: Sequence[str], ts: int) -> Int32:
        """Rows of `ids` (n,) after one sighting each at event time `ts`; -1 where not admitted (yet)."""
        rows = np.array(self.sight(ids, ts), np.int32)
        self.settle()
        self.touch(rows[rows >= 0], ts)
        return rows

    def sight(self, ids: Sequence[str], ts: int) -> list[int]:
        """As `rows`, as a list, touching nothing: the hot path of encoding; `settle` must follow a block."""
        found: list[Any] = list(map(self._row.get, ids))
        if None in found:
            for n, row in enumerate(found):
                if row is None:
                    found[n] = self._sight_unknown(ids[n], ts)
        return found

    def sight_one(self, name: str, ts: int) -> int:
        """As `sight`, for one id."""
        row = self._row.get(name)
        return self._sight_unknown(name, ts) if row is None else row

    def admit(self, ids: Sequence[str], ts: int) -> Int32:
        """As `rows`, past the admission rule (a catalogue's own items); -1 only where the table is full."""
        return self.admit_each(ids, [ts] * len(ids))

    def admit_each(
        self, ids: Sequence[str], times: Sequence[int] | Int64, reserved: npt.NDArray[np.bool_] | None = None
    ) -> Int32:
        """`admit` for distinct `ids` (n,), each sighted at its own time; the same as one by one.

        Those that `reserved` (n,) does not mark, where it is given, get none of the last `reserve` rows.
        """
        rows, times = self.find(ids), np.asarray(times, np.int64)
        new = np.flatnonzero(rows < 0).tolist()  # mostly none
        for n in new:
            if ids[n] not in self._row and (reserved is None or reserved[n] or not self._refuses()):
                self._enter(ids[n], key_of(ids[n]), int(times[n]))
        self.settle()
        rows[new] = self.find([ids[n] for n in new])
        here = rows >= 0
        at = rows[here]
        self.touched_at[at] = np.maximum(self.touched_at[at], times[here])
        self.counted.add(at)
        return rows

    def touch(self, rows: Int32, ts: int) -> None:
        """Owned `rows` (n,) were met at event time `ts`, which keeps them."""
        self.touched_at[rows] = np.maximum(self.touched_at[rows], ts)
        self.counted.add(rows)

    def _sight_unknown(self, name: str, ts: int) -> int:
        if name in self._row:  # admitted a moment ago, by the same call
            return self._row[name]
        key = key_of(name)
        if not self._gate.passes(key):
            return -1
        return -1 if self._refuses() else self._enter(name, key, ts)

    def _refuses(self) -> bool:
        # Rows that wait for the next tick count.
        full = len(self._ids) - len(self._free) >= self._most_sighted
        self.refused += full
        return full

    def _enter(self, name: str, key: int, ts: int) -> int:
        if self._free:
            row = self._free.pop()
            self._ids[row] = name
        elif len(self._ids) < self.max_rows:
            row = len(self._ids)
            self._ids.append(name)
            if row >= self.capacity:
                self.ensure(row + 1)
        else:
            self.refused += 1
            return -1
        self._row[name] = row
        if self._map is not None:
            self._unmapped.append(name)
        self.entering.append((row, key, ts))
        return row

    def settle(self) -> None:
        """Give the rows that `sight` admitted their initial vectors; before this they are zero."""
        if not self.entering:
            return
        entering = tuple(zip(*self.entering, strict=True))
        rows, keys = np.array(entering[0], np.int32), np.array(entering[1], np.uint64)
        self.entering.clear()
        self._has_owner[rows] = True
        self.touched_at[rows] = entering[2]
        fill_vectors(self.data, rows, keys, self.seed, self.scale / self.dim**0.5)
        for touched in (self._new, self.moved, self.counted):
            touched.add(rows)

    def ensure(self, rows: int) -> None:
        """Make room for rows below `rows`."""
        if rows <= self.capacity:
            return
        capacity = min(roomier(self.capacity, rows), max(self.max_rows, rows))
        if self._home is None:
            self.data = grown(self.data, capacity).astype(np.float32, copy=False)
        for name in ("clicks", "impressions", "version", "touched_at", "_has_owner"):
            setattr(self, name, grown(getattr(self, name), capacity))
        for touched in (self.moved, self.counted, self._new, self._removed):
            touched.ensure(capacity)

    def house(self, home: VectorHome) -> None:
        """Let the vectors live in `home` from now on, in no second place; for a replica, on which nothing
        learns: who writes into `data` by itself passes by the home.

        Raises:
            ShapeError: `home` holds vectors of another dimension, or too few.
        """
        if home.data.shape[1:] != (self.dim,) or len(home.data) < self.max_rows:
            msg = (
                f"expected a home of vectors ({self.max_rows} or more, {self.dim}), got {home.data.shape}; "
                "make it for the same dim and max_rows"
            )
            raise ShapeError(msg)
        home.put(self.live, self.data[self.live])
        self.data, self._home = home.data, home

    def _put(self, rows: Int32, vectors: Float32) -> None:
        if self._home is None:
            self.data[rows] = vectors
        else:
            self._home.put(rows, vectors)

    def set_vectors(self, rows: Int32, vectors: Float32) -> None:
        """Give `rows` (n,) these vectors (n, dim), as when an item comes with one of its own.

        Raises:
            ShapeError: the vectors do not have `dim` finite numbers each.
        """
        if vectors.shape != (rows.size, self.dim) or not np.isfinite(vectors).all():
            msg = f"expected finite vectors of shape {(rows.size, self.dim)}, got {vectors.shape}"
            raise ShapeError(msg)
        self._put(rows, vectors)
        self.version[rows] += 1
        self.moved.add(rows)

    def adopt(self, rows: Int32, vectors: Float32, versions: Int64) -> Int32:
        """Take over `vectors` (n, dim) with their `versions` (n,) from whoever owns these distinct `rows`
        (n,), where they are newer than what is here; returns the rows taken. They do not count as moved.

        Raises:
            ShapeError: the vectors do not have `dim` finite numbers each.
        """
        if vectors.shape != (rows.size, self.dim) or not np.isfinite(vectors).all():
            msg = f"expected finite vectors of shape {(rows.size, self.dim)}, got {vectors.shape}"
            raise ShapeError(msg)
        newer = versions > self.version[rows]
        rows = rows[newer]
        self._put(rows, vectors[newer])
        self.version[rows] = versions[newer]
        return rows

    def remove(self, ids: Sequence[str]) -> Int32:
        """Let go of these ids; returns the rows they had, for the other learners to clear."""
        return self._release([self._row[name] for name in dict.fromkeys(ids) if name in self._row])

    def tick(self, now_ms: int, kept: npt.NDArray[np.bool_] | None = None) -> Int32:
        """Event time has reached `now_ms`: expire and evict; returns the freed rows, ascending.

        Rows that `kept` (by row, missing ones are False) does not mark are evicted first.
        """
        self._free += self._quarantine
        self._quarantine = []
        full = len(self._row) > self.max_rows - self.max_rows // 8
        if not full and (self.ttl_ms == 0 or 0 <= now_ms - self._swept_ms < self.sweep_ms):
            return _NO_ROWS
        self._swept_ms = now_ms
        rows = self.live
        age_order = rows[np.argsort(self.touched_at[rows], kind="stable")]
        gone = 0
        if self.ttl_ms:
            gone = int(np.searchsorted(self.touched_at[age_order], now_ms - self.ttl_ms, side="right"))
        expired, rest = age_order[:gone], age_order[gone:]
        most = self.max_rows - self.max_rows // 8
        if rest.size > most:
            if kept is not None:
                is_kept = np.append(kept, np.zeros(max(0, self.size - kept.size), np.bool_))[rest]
                rest = np.concatenate([rest[~is_kept], rest[is_kept]])
            expired = np.concatenate([expired, rest[: rest.size - most]])
        return self._release(np.sort(expired).tolist())

    def _release(self, rows: list[int]) -> Int32:
        freed = np.array(rows, np.int32)
        if not rows:
            return freed
        names = [name for name in self.ids_of(freed) if name is not None]
        if self._map is not None:
            self._mapped().drop(names)
        for name in names:
            del self._row[name]
        for row in rows:
            self._ids[row] = None
        self._has_owner[freed] = False
        self._clear(freed)
        self._quarantine += rows
        self._removed.add(freed)
        self.token = object()
        return freed

    def _clear(self, rows: Int32) -> None:
        if self._home is None:
            self.data[rows] = 0.0
        else:
            self._home.clear(rows)
        for counts in (self.clicks, self.impressions, self.version, self.touched_at):
            counts[rows] = 0

    # -- copying ---------------------------------------------------------------------------------------------

    def snapshot(self) -> Frame:
        """All state; size times (dim * 4 + 32) bytes and the ids."""
        n = self.size
        return {
            "dim": self.dim,
            "ids": list(self._ids),
            "data": self.data[:n].copy(),
            "clicks": self.clicks[:n].copy(),
            "impressions": self.impressions[:n].copy(),
            "version": self.version[:n].copy(),
            "touched_at": self.touched_at[:n].copy(),
            "free": np.array(self._free, np.int32),
            "quarantine": np.array(self._quarantine, np.int32),
            "swept_ms": self._swept_ms,
            "refused": self.refused,
            "gate": self._gate.snapshot(),
            "marks": [touched.peek() for touched in (self.moved, self.counted, self._new, self._removed)],
        }

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described.

        Raises:
            ReplicaError: the frame's vectors have another dimension.
        """
        self._check_dim(frame["dim"])
        self._ids = list(frame["ids"])
        self._row = {name: row for row, name in enumerate(self._ids) if name is not None}
        self._map = None
        n = len(self._ids)
        self.ensure(n)
        for name in ("clicks", "impressions", "version", "touched_at"):
            array = getattr(self, name)
            array[:n] = frame[name]
            array[n:] = 0
        if self._home is None:
            self.data[:n] = frame["data"]
            self.data[n:] = 0
        else:
            self._home.put(np.arange(n, dtype=np.int32), frame["data"])
        self._has_owner[:] = False
        self._has_owner[list(self._row.values())] = True
        self._free = frame["free"].tolist()
        self._quarantine = frame["quarantine"].tolist()
        self._swept_ms, self.refused = frame["swept_ms"], frame["refused"]
        self._gate.restore(frame["gate"])
        sets = (self.moved, self.counted, self._new, self._removed)
        for touched, rows in zip(sets, frame["marks"], strict=True):
            touched.put(rows)
            touched.ensure(self.capacity)
        self.token = object()

    def changes(self) -> Frame:
        """Removed rows and new ones with their ids since the last call; what they hold is in parts."""
        removed, new = self._removed.drain(), self.owned(self._new.drain())
        return {"dim": self.dim, "removed": removed, "new_rows": new, "new_ids": self.ids_of(new)}

    def owned(self, rows: Int32) -> Int32:
        """Those of `rows` (n,) that an id has."""
        return rows[self._has_owner[rows]]

    def apply(self, frame: Frame) -> None:
        """On a replica: removals first, then new ids.

        Raises:
            ReplicaError: the frame's vectors have another dimension.
        """
        self._check_dim(frame["dim"])
        self.ensure(int(frame["new_rows"].max(initial=-1)) + 1)
        removed = frame["removed"][frame["removed"] < self.size]
        for row in removed.tolist():
            name = self._ids[row]
            self._ids[row] = None
            if name is not None:
                del self._row[name]
        self._map = None
        self._has_owner[removed] = False
        self._clear(removed)
        self._has_owner[frame["new_rows"]] = True
        new = frame["new_rows"].tolist()
        self._ids += [None] * (max(new, default=-1) + 1 - len(self._ids))
        self._row.update(zip(frame["new_ids"], new, strict=True))
        for row, name in zip(new, frame["new_ids"], strict=True):
            self._ids[row] = name
        if "rows" in frame:
            self._apply_columns(frame)
        if removed.size or frame["new_rows"].size:
            self.token = object()

    def _apply_columns(self, frame: Frame) -> None:
        """Frames of before had vectors and counts, too."""
        rows, counted = frame["rows"], frame["count_rows"]
        self.ensure(int(max(rows.max(initial=-1), counted.max(initial=-1))) + 1)
        self.put_vectors(rows, frame["vectors"], frame["version"])
        for name in ("clicks", "impressions", "touched_at"):
            getattr(self, name)[counted] = frame[name]

    def put_vectors(self, rows: Int32, vectors: Float32, versions: Int64) -> None:
        """On a replica: `rows` (n,), for which there is room, have these vectors (n, dim) and versions."""
        self._put(rows, vectors)
        self.version[rows] = versions

    def _check_dim(self, dim: int) -> None:
        if dim != self.dim:
            msg = f"this table holds vectors of {self.dim}, the frame of {dim}; build it with dim={dim}"
            raise ReplicaError(msg)
