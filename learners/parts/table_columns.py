"""What embedding tables keep by row, as parts; whose a row is, the tables say themselves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from learners.part import Column, Columns, Part, PartSpec, Side
from learners.table import EmbeddingTable
from learners.touched import Touched

__all__ = ["Counts", "Vectors"]

Int32 = npt.NDArray[np.int32]


class _TableColumns(Part, ABC):
    """Some columns of the users' table and of the items'; state is in the tables' own snapshots.

    Args:
        users: their table.
        items: theirs, of the same dimension.
    """

    def __init__(self, users: EmbeddingTable, items: EmbeddingTable) -> None:
        self._tables: Mapping[Side, EmbeddingTable] = {"user": users, "item": items}
        sides: tuple[Side, ...] = ("user", "item")
        self.spec = PartSpec(dict.fromkeys(sides, self._columns(users.dim)))

    @abstractmethod
    def _columns(self, dim: int) -> tuple[Column, ...]:
        """What a row has."""

    @abstractmethod
    def _marks(self, table: EmbeddingTable) -> Touched:
        """Which rows of it have changed."""

    @abstractmethod
    def _write(self, table: EmbeddingTable, rows: Int32, columns: Mapping[str, Any]) -> None:
        """Put columns into a table that has room for `rows` (n,)."""

    def touched(self, side: Side) -> Int32:
        """Rows that changed and that somebody owns: what others become of, the table says."""
        table = self._tables[side]
        return table.owned(self._marks(table).drain())

    def adopt(self, side: Side, rows: Int32, columns: Mapping[str, Any]) -> None:
        """Take over the columns of `rows` (n,)."""
        if rows.size:
            table = self._tables[side]
            table.ensure(int(rows.max()) + 1)
            self._write(table, rows, columns)

    def remove(self, side: Side, rows: Int32) -> None:
        """Empty rows that somebody owns; those of nobody the table has emptied when it let go of them."""
        table = self._tables[side]
        rows = table.owned(rows)
        if rows.size:
            blank = self.export(side, rows)
            self._write(table, rows, {name: np.zeros_like(array) for name, array in blank.items()})
            self._marks(table).add(rows)


class Vectors(_TableColumns):
    """Vectors of users and items, with the number of their updates.

    Example:
        >>> users, items = EmbeddingTable(2, seed=1), EmbeddingTable(2)
        >>> _ = users.rows(["ann"], ts=5)
        >>> there = EmbeddingTable(2)
        >>> there.apply(users.changes())
        >>> Vectors(there, items).apply(Vectors(users, items).changes())
        >>> bool((there.data[0] == users.data[0]).all())
        True
    """

    def _columns(self, dim: int) -> tuple[Column, ...]:
        return Column("vector", "f4", (dim,)), Column("version", "i8")

    def _marks(self, table: EmbeddingTable) -> Touched:
        return table.moved

    def export(self, side: Side, rows: Int32) -> Columns:
        """Copies of the vectors (n, dim), and their versions."""
        table = self._tables[side]
        table.ensure(int(rows.max(initial=-1)) + 1)
        return {"vector": table.data[rows], "version": table.version[rows]}

    def _write(self, table: EmbeddingTable, rows: Int32, columns: Mapping[str, Any]) -> None:
        table.put_vectors(rows, columns["vector"], columns["version"])


class Counts(_TableColumns):
    """How often users and items were met, and when last.

    Example:
        >>> users, items = EmbeddingTable(2), EmbeddingTable(2)
        >>> _ = users.rows(["ann"], ts=5)
        >>> Counts(users, items).changes()["user"]["touched_at"]
        array([5])
    """

    _NAMES: ClassVar[tuple[str, ...]] = ("clicks", "impressions", "touched_at")

    def _columns(self, dim: int) -> tuple[Column, ...]:
        return tuple(Column(name, "i8") for name in self._NAMES)

    def _marks(self, table: EmbeddingTable) -> Touched:
        return table.counted

    def export(self, side: Side, rows: Int32) -> Columns:
        """Clicks, impressions and the time of the last outcome (n,)."""
        table = self._tables[side]
        table.ensure(int(rows.max(initial=-1)) + 1)
        return {name: getattr(table, name)[rows] for name in self._NAMES}

    def _write(self, table: EmbeddingTable, rows: Int32, columns: Mapping[str, Any]) -> None:
        for name in self._NAMES:
            getattr(table, name)[rows] = columns[name]
