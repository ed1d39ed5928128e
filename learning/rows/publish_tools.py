"""What publishers share: which ids have left, and lists of rows as lists of ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from learners import EmbeddingTable
from stream.frame import Frame

__all__ = ["Kept", "Owners", "named_lists", "owned_by", "union_of", "vectors_as_bytes"]

Int32 = npt.NDArray[np.int32]

T = TypeVar("T")

_NO_ROWS = np.zeros(0, np.int32)
_MOST_KEPT = 16_384


class Owners:
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


class Kept(Generic[T]):
    """What was made of rows that change seldom while other columns of theirs change all the time.

    At most 16,384 rows; when they are more, all are made anew.

    Example:
        >>> kept = Kept(lambda rows: [f"made {row}" for row in rows.tolist()])
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
        for row in rows.tolist():
            self._made.pop(row, None)

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


def union_of(*parts: Int32) -> Int32:
    """All rows in any of `parts`, each once, ascending."""
    return np.unique(np.concatenate([_NO_ROWS, *parts])).astype(np.int32)


def owned_by(table: EmbeddingTable, rows: Int32) -> tuple[Int32, list[str]]:
    """The rows that somebody owns, and who."""
    names = table.ids_of(rows)
    if None in names:
        rows = rows[[name is not None for name in names]]
    return rows, [name for name in names if name is not None]


def vectors_as_bytes(table: EmbeddingTable, rows: Int32) -> list[bytes]:
    """The vectors of `rows` (n,), little-endian float32 each."""
    data, width = table.data[rows].astype("<f4", copy=False).tobytes(), 4 * table.dim
    return [data[at : at + width] for at in range(0, len(data), width)]


def named_lists(
    table: EmbeddingTable, rows: Int32, lengths: Int32
) -> tuple[list[str], npt.NDArray[np.bool_], list[int], list[int]]:
    """The owners of `rows` in lists of `lengths` (n,), without those that have none: the ids, which of `rows`
    they are, and where each list begins and ends among them."""
    here = rows >= 0
    owners = table.ids_of(rows[here])
    if None in owners:
        here[here] = [name is not None for name in owners]
    n_before = np.concatenate([[0], np.cumsum(here)])
    ends = np.cumsum(lengths)
    lows, highs = n_before[ends - lengths].tolist(), n_before[ends].tolist()
    return [name for name in owners if name is not None], here, lows, highs
