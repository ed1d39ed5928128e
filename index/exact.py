"""Brute force: the oracle that every other index is compared with."""

from __future__ import annotations

from typing import Any

from index.base import Answers
from index.checks import check_allow, check_k, check_query
from index.table import RowTable
from stream.frame import Frame

__all__ = ["ExactIndex"]


class ExactIndex:
    """Scores every row; always right, and quick enough up to some tens of thousands of rows.

    Example:
        >>> import numpy as np
        >>> index = ExactIndex(dim=2)
        >>> index.upsert(np.array([7, 3]), np.array([[1, 0], [3, 4]], np.float32))
        >>> index.search(np.array([2, 0], np.float32), k=5)
        Answers(rows=array([7, 3], dtype=int32), scores=array([1. , 0.6], dtype=float32))
    """

    def __init__(self, dim: int, max_rows: int = 4_000_000) -> None:
        self._table = RowTable(dim, max_rows)

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""
        return self._table.dim

    @property
    def size(self) -> int:
        """Rows that have a vector now."""
        return self._table.size

    @property
    def version(self) -> int:
        """Grows by one with each batch written."""
        return self._table.version

    def upsert(self, rows: Any, vectors: Any) -> None:
        """Give `rows` (n,) the `vectors` (n, dim)."""
        self._table.write(rows, vectors)

    def remove(self, rows: Any) -> int:
        """Take `rows` (n,) out; returns how many were there."""
        return int(self._table.erase(rows).size)

    def set_attributes(
        self, rows: Any, *, group: Any = None, from_ms: Any = None, until_ms: Any = None
    ) -> None:
        """Set what searches filter by, (n,) each; None leaves it."""
        self._table.set_attributes(rows, group, from_ms, until_ms)

    def search(
        self, query: Any, k: int, *, groups: Any = None, now_ms: int | None = None, allowed: Any = None
    ) -> Answers:
        """The `k` allowed rows nearest to `query` (dim,), or as many as there are."""
        unit = check_query(query, self.dim)
        allow = check_allow(groups, now_ms, allowed)
        return self._table.scan(unit, allow, check_k(k), exact=True)

    def snapshot(self) -> Frame:
        """Everything that `restore` needs."""
        return self._table.snapshot()[0]

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described; raises `SnapshotError` if it cannot be this index."""
        self._table.restore(frame)
