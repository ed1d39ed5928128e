"""What every vector index promises."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from stream.frame import Frame

__all__ = ["Answers", "Mask", "RowNumbers", "VectorIndex"]

Mask = NDArray[np.bool_]
"""Which rows may be answers, (n,), indexed by row; rows beyond its end may not."""


RowNumbers = NDArray[np.integer[Any]]
"""Rows as a caller gives them, (n,), of any integer type; the room itself keeps int32."""


class Answers(NamedTuple):
    """The nearest rows, (m,) int32, and their cosine similarities, (m,) float32: best first, ties by row."""

    rows: NDArray[np.int32]
    scores: NDArray[np.float32]


class VectorIndex(Protocol):
    """Nearest rows under cosine similarity, while vectors come, move and go.

    Rows are dense numbers given by the caller, below `max_rows`; a removed row's number may be used again.
    One batch means the same as its rows one by one: of equal row numbers the last vector stays. All methods
    may be called from any thread. Arguments that do not fit raise `IndexInputError` and change nothing.
    """

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""

    @property
    def size(self) -> int:
        """Rows that have a vector now."""

    @property
    def version(self) -> int:
        """Grows by one with each batch written: upsert, remove, set_attributes."""

    def upsert(self, rows: RowNumbers, vectors: NDArray[np.float32]) -> None:
        """Give `rows` (n,) the `vectors` (n, dim), whose lengths are dropped; visible to the next search."""

    def remove(self, rows: RowNumbers) -> int:
        """Take `rows` (n,) out, with their attributes; returns how many were there."""

    def set_attributes(
        self,
        rows: RowNumbers,
        *,
        group: NDArray[np.int32] | None = None,
        from_ms: NDArray[np.int64] | None = None,
        until_ms: NDArray[np.int64] | None = None,
    ) -> None:
        """Set what searches filter by, (n,) each; None leaves it. Rows need no vector yet.

        A row without a group is in group 0; one without a window is always available; `until_ms` is
        exclusive.
        """

    def search(
        self,
        query: NDArray[np.float32],
        k: int,
        *,
        groups: NDArray[np.int32] | None = None,
        now_ms: int | None = None,
        allowed: Mask | None = None,
    ) -> Answers:
        """The `k` rows nearest to `query` (dim,), or as many as there are.

        `groups` (n,): only rows of these; `now_ms`: only rows whose window holds it; `allowed`: only rows
        that it marks.
        """

    def snapshot(self) -> Frame:
        """Everything that `restore` needs, as plain values and arrays."""

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described; raises `SnapshotError` if it cannot be this index."""
