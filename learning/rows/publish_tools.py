"""What publishers share: which ids have left, and lists of rows as lists of ids."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from itertools import repeat
from typing import Any, Generic, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from learners import EmbeddingTable
from learners.part import Part, Side
from learning.rows.part_columns import NamesOf, encoded_cells, is_flat
from stream.frame import Frame

__all__ = [
    "NO_PARTS",
    "EncodedCache",
    "PartCells",
    "PublishedIds",
    "owned_by",
    "union_of",
]

Int32 = npt.NDArray[np.int32]

T = TypeVar("T")

_NO_ROWS = np.zeros(0, np.int32)
_MOST_KEPT = 16_384
NO_PARTS = b"\x80"
"""An empty map: what rows hold of which no part knows anything."""

_encode = msgspec.msgpack.Encoder().encode


class PublishedIds:
    """The ids that were published, by row of a table.

    Memory: 8 bytes a row; the ids themselves are the table's.
    """

    def __init__(self, table: EmbeddingTable) -> None:
        self._table = table
        self._ids: list[str | None] = []

    def take(self, frame: Frame) -> list[str]:
        """Follow one `EmbeddingTable.changes()`: the ids that have left for good."""
        removed, new = frame["removed"].tolist(), frame["new_rows"].tolist()
        left = [self._ids[row] for row in removed if row < len(self._ids)]
        self._ids += [None] * (max(new, default=-1) + 1 - len(self._ids))
        for row in removed:
            if row < len(self._ids):
                self._ids[row] = None
        for row, name in zip(new, frame["new_ids"], strict=True):
            self._ids[row] = name
        return [name for name in left if name is not None and name not in self._table]

    def snapshot(self) -> Frame:
        """What the table itself does not know: rows whose published owner is not the one they have now."""
        now = self._table.ids_of(np.arange(len(self._ids), dtype=np.int32))
        pairs = zip(self._ids, now, strict=True)
        rows = [row for row, (published, owner) in enumerate(pairs) if published != owner]
        return {"size": len(self._ids), "rows": rows, "ids": [self._ids[row] for row in rows]}

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described; restore the table first."""
        self._ids = self._table.ids_of(np.arange(frame["size"], dtype=np.int32))
        for row, name in zip(frame["rows"], frame["ids"], strict=True):
            self._ids[row] = name


class EncodedCache(Generic[T]):
    """What was made of rows that change seldom while other columns of theirs change all the time.

    At most 16,384 rows; when they are more, all are made anew.

    Example:
        >>> kept = EncodedCache(lambda rows: [f"made {row}" for row in rows.tolist()])
        >>> kept.of(np.array([3, 5], np.int32))
        ['made 3', 'made 5']
        >>> kept.drop(np.array([5], np.int32))
        >>> len(kept)
        1
    """

    def __init__(self, make: Callable[[Int32], Sequence[T]]) -> None:
        self._make = make
        self._made: dict[int, T] = {}

    def __len__(self) -> int:
        """Rows that something is kept of."""
        return len(self._made)

    def drop(self, rows: Int32) -> None:
        """These rows (n,) have changed."""
        if self._made:
            deque(map(self._made.pop, rows.tolist(), repeat(None)), 0)

    def clear(self) -> None:
        """All rows have changed."""
        self._made.clear()

    def of(self, rows: Int32) -> list[T]:
        """What was made of `rows` (n,), which are distinct; missing ones are made now."""
        if len(self._made) + rows.size > _MOST_KEPT:
            self._made.clear()
        found: list[Any] = list(map(self._made.get, rows.tolist()))
        missing = [n for n, one in enumerate(found) if one is None]
        if missing:
            at = rows[missing]
            for n, row, one in zip(missing, at.tolist(), self._make(at), strict=True):
                found[n] = self._made[row] = one
        if len(self._made) > _MOST_KEPT:
            self._made.clear()
        return found


class PartCells:
    """What rows hold of some parts, encoded; it is made anew only of rows that the part has touched.

    Args:
        parts: by the name that they have in rows.
        side: whose rows these are.
        names_of: the ids of rows of a side's table.
    """

    def __init__(self, parts: Mapping[str, Part], side: Side, names_of: NamesOf) -> None:
        self._side: Side = side
        self._parts = {name: part for name, part in parts.items() if side in part.spec.sides}
        self._names_of = names_of
        # Numbers alone are packed faster than they are looked up.
        lists = [name for name, part in self._parts.items() if not is_flat(part.spec.sides[side])]
        self._kept = {name: EncodedCache(partial(self._make, name)) for name in lists}
        self._again = _NO_ROWS

    def say_again(self, names: Collection[str], rows: Int32) -> None:
        """If one of these parts is here, all of these rows (n,) count as touched once more: they were written
        without it while it was not configured."""
        if not self._parts.keys().isdisjoint(names):
            self._again = rows

    def touched(self, *others: Int32) -> Int32:
        """Rows that any part has touched since the last call; what was made of `others`, which have new
        owners or none, is dropped, too."""
        touched = []
        for name, part in self._parts.items():
            rows = part.touched(self._side)
            if name in self._kept:
                self._kept[name].drop(union_of(rows, *others))
            touched.append(rows)
        again, self._again = self._again, _NO_ROWS
        return union_of(*touched, again)

    def of(self, rows: Int32) -> list[bytes]:
        """By row the map of the parts that hold something of it, `NO_PARTS` where none does."""
        entries = [self._entries(name, rows) for name in self._parts]
        counts = np.zeros(rows.size, np.int64)
        for of_part in entries:
            counts += np.fromiter(map(bool, of_part), np.bool_, rows.size)
        heads = list(map(_map_of, range(len(entries) + 1)))
        # Rows are tens of thousands a commit: nothing here runs in Python for each of them.
        return list(map(b"".join, zip(map(heads.__getitem__, counts.tolist()), *entries, strict=True)))

    def _entries(self, name: str, rows: Int32) -> Sequence[bytes]:
        """By row the entry of a part in the map; empty where it holds nothing."""
        kept = self._kept.get(name)
        return self._make(name, rows) if kept is None else kept.of(rows)

    def _make(self, name: str, rows: Int32) -> list[bytes]:
        part = self._parts[name]
        columns = part.spec.sides[self._side]
        return encoded_cells(_encode(name), columns, rows.size, part.export(self._side, rows), self._names_of)


def _map_of(n: int) -> bytes:
    """What a MessagePack map of so many entries begins with."""
    return bytes([0x80 | n]) if n < 16 else b"\xde" + n.to_bytes(2, "big")


def union_of(*parts: Int32) -> Int32:
    """All rows in any of `parts`, each once, ascending."""
    rows = np.sort(np.concatenate([_NO_ROWS, *parts]))
    is_first = np.ones(rows.size, np.bool_)
    np.not_equal(rows[1:], rows[:-1], out=is_first[1:])
    return rows[is_first].astype(np.int32, copy=False)


def owned_by(table: EmbeddingTable, rows: Int32) -> tuple[Int32, list[str]]:
    """The rows that somebody owns, and who."""
    names = table.ids_of(rows)
    if None in names:
        rows = rows[[name is not None for name in names]]
    return rows, [name for name in names if name is not None]
