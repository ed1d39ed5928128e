"""Row numbers of a replica for ids that come from many shards, each with numbers of its own."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from stream.frame import Frame

__all__ = ["Numbering"]

Int32 = npt.NDArray[np.int32]


class Numbering:
    """Rows for ids, at most `max_rows` of them; an id has its row from the first time it is named.

    A row that was let go is given out again after the next `settle`, so that whoever follows the frames has
    emptied it by then. Ids beyond `max_rows` get -1, and `refused` counts them. Memory: 150 bytes an id.

    Example:
        >>> numbering = Numbering(2)
        >>> numbering.rows(["a", "b", "a", "c"]), numbering.refused
        (array([ 0,  1,  0, -1], dtype=int32), 1)
        >>> numbering.drop([0])
        >>> numbering.settle()
        >>> numbering.rows(["c"])
        array([0], dtype=int32)
    """

    def __init__(self, max_rows: int) -> None:
        self.max_rows = max_rows
        self.refused = 0
        self._row: dict[str, int] = {}
        self._ids: list[str | None] = []
        self._free: list[int] = []
        self._freed: list[int] = []

    def __len__(self) -> int:
        """Ids that have a row."""
        return len(self._row)

    @property
    def size(self) -> int:
        """One more than the highest row ever given."""
        return len(self._ids)

    @property
    def taken(self) -> npt.NDArray[np.bool_]:
        """Which rows below `size` an id has."""
        return np.array([name is not None for name in self._ids], np.bool_)

    def row_of(self, name: str) -> int:
        """The row of an id, -1 where it has none."""
        return self._row.get(name, -1)

    def id_of(self, row: int) -> str | None:
        """The id that has a row, None for nobody."""
        return self._ids[row]

    def known(self, names: Iterable[str]) -> Int32:
        """The rows of those ids that have one."""
        return np.array([row for row in map(self._row.get, names) if row is not None], np.int32)

    def rows(self, names: list[str]) -> Int32:
        """Rows (n,) of ids, given where they had none; -1 where all are taken."""
        found = list(map(self._row.get, names))
        if None in found:
            found = [
                self._enter(name) if row is None else row for name, row in zip(names, found, strict=True)
            ]
        return np.array(found, np.int32)

    def _enter(self, name: str) -> int:
        row = self._row.get(name)
        if row is not None:  # named a moment ago, in the same list
            return row
        if self._free:
            row = self._free.pop()
            self._ids[row] = name
        elif len(self._ids) < self.max_rows:
            row = len(self._ids)
            self._ids.append(name)
        else:
            self.refused += 1
            return -1
        self._row[name] = row
        return row

    def drop(self, rows: Iterable[int]) -> None:
        """Let go of these rows, which have owners."""
        for row in rows:
            name = self._ids[row]
            if name is not None:
                del self._row[name]
            self._ids[row] = None
            self._freed.append(row)

    def settle(self) -> None:
        """What was let go so far may be given out again."""
        self._free += self._freed
        self._freed = []

    def snapshot(self) -> Frame:
        """All of it."""
        return {"ids": list(self._ids), "free": list(self._free), "freed": list(self._freed)}

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described."""
        self._ids = list(frame["ids"])
        self._row = {name: row for row, name in enumerate(self._ids) if name is not None}
        self._free, self._freed = list(frame["free"]), list(frame["freed"])
