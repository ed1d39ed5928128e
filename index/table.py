"""The rows beneath every index: newest vectors, attributes, and the one lock between writers and answers."""

from __future__ import annotations

from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.base import Answers
from index.checks import check_column, check_rows, check_vectors, check_vectors_as_given
from index.errors import IndexInputError
from index.memory import reserve
from index.ops.records import ALIVE, TIMED, Allow, Rows
from index.ops.scan import scan, settle
from index.ops.upkeep import hold_rows, write_rows
from stream.errors import SnapshotError
from stream.frame import Frame

__all__ = ["RowTable"]

_SLICE = 4096  # rows written under one hold of the lock: about a millisecond
_SPARE = 64  # candidates beyond k, for rows that leave between the walk and the answer
_FOREVER = np.iinfo(np.int64)


class RowTable:
    """Dense vectors and attributes by row number; grows within `max_rows` without copying.

    Vectors are kept at unit length, or, with `as_given`, as they came: then `rows.vectors` may be somebody
    else's only copy, too, who reads it wherever, and writes through `write` and `hold` alone.

    Memory: 4 bytes a dimension, 9 bytes of state, and 20 bytes of attributes where any were set.
    """

    def __init__(self, dim: int, max_rows: int, jump: float = 2.0, *, as_given: bool = False) -> None:
        if dim < 1 or max_rows < 1 or max_rows > np.iinfo(np.int32).max:
            msg = f"expected dim >= 1 and 1 <= max_rows < 2**31, got dim={dim}, max_rows={max_rows}"
            raise IndexInputError(msg)
        self.dim, self.max_rows = dim, max_rows
        self.jump, self.as_given = jump, as_given
        self.rows = Rows(
            vectors=reserve((max_rows, dim), np.float32),
            scale=reserve((max_rows,), np.float32),
            state=reserve((max_rows,), np.uint8),
            group=reserve((max_rows,), np.int32),
            from_ms=reserve((max_rows,), np.int64),
            until_ms=reserve((max_rows,), np.int64),
            moved=reserve((max_rows,), np.float32),
        )
        self.lock = Lock()  # held while a vector or a state changes, and while an answer is settled
        self.n_rows = 0  # one beyond the highest row ever used
        self.size = 0
        self.version = 0

    def write(self, rows: Any, vectors: Any) -> NDArray[np.int32]:
        """Check and write a batch; returns the rows that no link leads to: come to life, or moved beyond
        `jump`."""
        targets = check_rows(rows, self.max_rows)
        given, scales = self._checked(vectors, targets.size)
        unplaced = np.empty(targets.size, np.int32)
        n_unplaced = 0
        for start in range(0, targets.size, _SLICE):
            part = slice(start, start + _SLICE)
            with self.lock:
                born, more = write_rows(
                    targets[part], given[part], scales[part], self.rows, self.jump, unplaced[n_unplaced:]
                )
                self.n_rows = max(self.n_rows, int(targets[part].max()) + 1)
                self.size += born
            n_unplaced += more
        with self.lock:
            self.version += 1
        return unplaced[:n_unplaced]

    def hold(self, rows: Any, vectors: Any) -> None:
        """Keep the vectors of rows that are no answers, as far as they are none; zero is a vector, too."""
        targets = check_rows(rows, self.max_rows)
        for start in range(0, targets.size, _SLICE):
            part = slice(start, start + _SLICE)
            given = np.require(vectors[part], np.float32, ("C", "A", "W"))
            with self.lock:
                hold_rows(targets[part], given, self.rows)

    def _checked(self, vectors: Any, n: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if self.as_given:
            return check_vectors_as_given(vectors, n, self.dim)
        return check_vectors(vectors, n, self.dim), np.ones(n, np.float32)

    def erase(self, rows: Any) -> NDArray[np.int32]:
        """Check and take out a batch with its attributes; returns the distinct rows that were alive."""
        targets = np.unique(check_rows(rows, self.max_rows))
        with self.lock:
            gone: NDArray[np.int32] = targets[self.rows.state[targets] & ALIVE != 0]
            self.rows.state[targets] = 0
            self.rows.group[targets] = 0
            self.rows.moved[targets] = 0
            self.size -= gone.size
            self.version += 1
        return gone

    def set_attributes(self, rows: Any, group: Any, from_ms: Any, until_ms: Any) -> None:
        """Check and set the attributes of a batch."""
        targets = check_rows(rows, self.max_rows)
        n = targets.size
        groups = None if group is None else check_column(group, n, np.int32, "group")
        opens = None if from_ms is None else check_column(from_ms, n, np.int64, "from_ms")
        closes = None if until_ms is None else check_column(until_ms, n, np.int64, "until_ms")
        with self.lock:
            # A row that has attributes and no vector yet is in the snapshot, too.
            self.n_rows = max(self.n_rows, int(targets.max(initial=-1)) + 1)
            if groups is not None:
                self.rows.group[targets] = groups
            if opens is not None or closes is not None:
                untimed = targets[self.rows.state[targets] & TIMED == 0]
                self.rows.from_ms[untimed] = _FOREVER.min
                self.rows.until_ms[untimed] = _FOREVER.max
                self.rows.state[targets] |= TIMED
            if opens is not None:
                self.rows.from_ms[targets] = opens
            if closes is not None:
                self.rows.until_ms[targets] = closes
            self.version += 1

    def settle(
        self, query: NDArray[np.float32], allow: Allow, k: int, candidates: NDArray[np.int32]
    ) -> Answers:
        """The answer among `candidates`, all rows read at one instant."""
        room = min(k, candidates.size)
        out_rows, out_scores = np.empty(room, np.int32), np.empty(room, np.float32)
        with self.lock:
            n = settle(query, self.rows, allow, k, candidates, out_rows, out_scores)
        return Answers(out_rows[:n], out_scores[:n])

    def scan(self, query: NDArray[np.float32], allow: Allow, k: int, *, exact: bool) -> Answers:
        """The answer among all rows.

        The pass itself takes no lock, lest writers wait for milliseconds; only if so many candidates left
        meanwhile that the answer is short is it repeated under the lock.
        """
        n_rows = self.n_rows
        room = min(k + _SPARE, max(1, n_rows))
        scores, found = np.empty(room, np.float32), np.empty(room, np.int32)
        kept, seen = scan(query, self.rows, n_rows, allow, room, exact, scores, found)
        answers = self.settle(query, allow, k, found[:kept])
        if answers.rows.size < k and seen > kept:
            with self.lock:
                kept, _ = scan(query, self.rows, self.n_rows, allow, room, exact, scores, found)
            answers = self.settle(query, allow, k, found[:kept])
        return answers

    def alive(self) -> NDArray[np.int32]:
        """Rows that have a vector, ascending."""
        found: NDArray[np.int32] = np.flatnonzero(self.rows.state[: self.n_rows] & ALIVE).astype(np.int32)
        return found

    def snapshot(self) -> tuple[Frame, NDArray[np.uint8], NDArray[np.float32]]:
        """The rows as plain arrays, with their whole state and paths beside them; the caller holds no lock.

        Copied a slice at a time, so answers wait for a slice at most; each row is whole.
        """
        with self.lock:
            n, version = self.n_rows, self.version
        vectors, state = np.empty((n, self.dim), np.float32), np.empty(n, np.uint8)
        moved, group = np.empty(n, np.float32), np.empty(n, np.int32)
        from_ms, until_ms = np.empty(n, np.int64), np.empty(n, np.int64)
        for start in range(0, n, _SLICE):
            part = slice(start, min(start + _SLICE, n))
            with self.lock:
                vectors[part] = self.rows.units(part)
                state[part], moved[part] = self.rows.state[part], self.rows.moved[part]
                group[part] = self.rows.group[part]
                from_ms[part], until_ms[part] = self.rows.from_ms[part], self.rows.until_ms[part]
        timed = np.flatnonzero(state & TIMED).astype(np.int32)
        frame: Frame = {
            "space": "cosine",
            "dim": self.dim,
            "version": version,
            "vectors": vectors,
            "state": state & (ALIVE | TIMED),
            "group": group,
            "timed": timed,
            "from_ms": from_ms[timed],
            "until_ms": until_ms[timed],
        }
        return frame, state, moved

    def restore(self, frame: Frame) -> None:
        """Become the rows of `frame`; nothing changes if it does not fit."""
        parts = _checked(frame, self.dim, self.max_rows)
        n = parts["state"].size
        with self.lock:
            for array in self.rows:
                array[: self.n_rows] = 0
            self.rows.vectors[:n] = parts["vectors"]
            self.rows.scale[:n] = 1.0
            self.rows.state[:n] = parts["state"]
            self.rows.group[:n] = parts["group"]
            self.rows.from_ms[parts["timed"]] = parts["from_ms"]
            self.rows.until_ms[parts["timed"]] = parts["until_ms"]
            self.n_rows = n
            self.size = int(np.count_nonzero(parts["state"] & ALIVE))
            self.version = int(frame["version"])


def _checked(frame: Frame, dim: int, max_rows: int) -> dict[str, NDArray[Any]]:
    """The arrays of a frame, each of the type and shape that it must have."""
    if frame.get("space") != "cosine" or frame.get("dim") != dim:
        came = f"{frame.get('space')!r}, dim {frame.get('dim')!r}"
        msg = f"snapshot of space {came}; this index is 'cosine', dim {dim}"
        raise SnapshotError(msg)
    state, timed = frame.get("state"), frame.get("timed")
    n = state.size if isinstance(state, np.ndarray) else -1
    n_timed = timed.size if isinstance(timed, np.ndarray) else -1
    if n > max_rows:
        msg = f"snapshot holds {n} rows, this index has room for {max_rows}; make it with a larger max_rows"
        raise SnapshotError(msg)
    parts: dict[str, NDArray[Any]] = {}
    for name, dtype, shape in (
        ("vectors", np.float32, (n, dim)),
        ("state", np.uint8, (n,)),
        ("group", np.int32, (n,)),
        ("timed", np.int32, (n_timed,)),
        ("from_ms", np.int64, (n_timed,)),
        ("until_ms", np.int64, (n_timed,)),
    ):
        array = frame.get(name)
        if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape:
            msg = f"snapshot: expected {name} as {np.dtype(dtype).name} {shape}; is the frame of an index?"
            raise SnapshotError(msg)
        parts[name] = array
    whole = bool(np.isfinite(parts["vectors"]).all())
    if not whole or (n_timed and (int(parts["timed"].min()) < 0 or int(parts["timed"].max()) >= n)):
        msg = "snapshot: a vector is not finite or a row number is out of range; use an older snapshot"
        raise SnapshotError(msg)
    return parts
