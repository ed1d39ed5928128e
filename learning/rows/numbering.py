"""Row numbers of a replica for ids that come from many shards, each with numbers of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from learners.ids import IdMap, some_of
from stream.frame import Frame

__all__ = ["Numbering"]

Int32 = npt.NDArray[np.int32]


class Numbering:
    """Rows for ids, at most `max_rows` of them; an id has its row from the first time it is named.

    A row that was let go is given out again after the next `settle`, so that whoever follows the frames has
    emptied it by then. Ids beyond `max_rows` get -1, and `refused` counts them. Memory: 120 bytes an id.

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
        self._rows = IdMap()
        self._ids: list[str | None] = []
        self._free: list[int] = []
        self._freed: list[int] = []

    def __len__(self) -> int:
        """Ids that have a row."""
        return len(self._rows)

    @property
    def size(self) -> int:
        """One more than the highest row ever given."""
        return len(self._ids)

    @property
    def taken(self) -> npt.NDArray[np.bool_]:
        """Which rows below `size` an id has."""
        return np.array([name is not None for name in self._ids], np.bool_)

    def id_of(self, row: int) -> str | None:
        """The id that has a row, None for nobody."""
        return self._ids[row]

    def find(self, names: Sequence[str]) -> Int32:
        """Rows (n,) of ids, -1 for those that have none."""
        return self._rows.find(names)

    def known(self, names: Sequence[str]) -> Int32:
        """The rows of those ids that have one."""
        rows = self._rows.find(names)
        return rows[rows >= 0]

    def rows(self, names: Sequence[str]) -> Int32:
        """Rows (n,) of ids, given where they had none; -1 where all are taken."""
        return self.enter(names)[0]

    def enter(self, names: Sequence[str]) -> tuple[Int32, npt.NDArray[np.bool_]]:
        """As `rows`, and which of the ids (n,) had none."""
        rows = self._rows.find(names)
        new = rows < 0
        missing = np.flatnonzero(new).tolist()
        if missing:
            wanted = some_of(names, missing)
            given = self._give(list(dict.fromkeys(wanted)))  # an id may be named twice
            rows[missing] = [given[name] for name in wanted]
        return rows, new

    def _give(self, names: list[str]) -> dict[str, int]:
        """Rows of these ids, each once: those that were let go first, -1 where all are taken."""
        n_again = min(len(names), len(self._free))
        n_new = min(len(names) - n_again, self.max_rows - len(self._ids))
        again = [self._free.pop() for _ in range(n_again)]
        given = [*again, *range(len(self._ids), len(self._ids) + n_new)]
        for name, row in zip(names, again, strict=False):
            self._ids[row] = name
        self._ids += names[n_again : len(given)]
        self._rows.put(names[: len(given)], np.array(given, np.int32))
        n_refused = len(names) - len(given)
        self.refused += n_refused
        return dict(zip(names, [*given, *[-1] * n_refused], strict=True))

    def drop(self, rows: Iterable[int]) -> None:
        """Let go of these rows, which have owners."""
        gone = list(rows)
        self._rows.drop([name for row in gone if (name := self._ids[row]) is not None])
        for row in gone:
            self._ids[row] = None
        self._freed += gone

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
        here = np.flatnonzero(self.taken).astype(np.int32)
        self._rows = IdMap()
        self._rows.put([name for name in self._ids if name is not None], here)
        self._free, self._freed = list(frame["free"]), list(frame["freed"])
