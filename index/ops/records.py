"""The records of arrays that the kernels of this room take: names instead of twenty positions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["ALIVE", "PENDING", "TIMED", "Allow", "Entry", "Links", "Rows", "Scratch"]

ALIVE = 1  # the row has a vector and may be an answer
TIMED = 2  # the row has an availability window
PENDING = 4  # the row is alive and not yet in the graph: every search scores it


class Rows(NamedTuple):
    """What is known about each row; every array is indexed by row number."""

    vectors: NDArray[np.float32]  # (max_rows, dim): of any length
    scale: NDArray[np.float32]  # (max_rows,): what makes a row's vector one of unit length
    state: NDArray[np.uint8]  # (max_rows,): ALIVE | TIMED | PENDING
    group: NDArray[np.int32]  # (max_rows,)
    from_ms: NDArray[np.int64]  # (max_rows,): read where TIMED
    until_ms: NDArray[np.int64]  # (max_rows,): exclusive; read where TIMED
    moved: NDArray[np.float32]  # (max_rows,): path length since the row's links were last chosen

    def units(self, rows: NDArray[np.int32] | slice) -> NDArray[np.float32]:
        """The vectors (n, dim) of `rows` (n,), scaled to unit length."""
        out: NDArray[np.float32] = self.vectors[rows] * self.scale[rows, np.newaxis]
        return out


class Links(NamedTuple):
    """A graph over the rows: each row's links, of which the first `degree` count."""

    to: NDArray[np.int32]  # (max_rows, max_links)
    degree: NDArray[np.uint8]  # (max_rows,)


class Entry(NamedTuple):
    """Where a walk begins: a sample of rows with a copy of their vectors, and rows without links."""

    pivots: NDArray[np.int32]  # (n_pivots,)
    vectors: NDArray[np.float32]  # (n_pivots, dim): unit, as they were when sampled; they only route
    pending: NDArray[np.int32]  # (n_pending,)


class Allow(NamedTuple):
    """Which rows may be answers."""

    by_group: bool
    groups: NDArray[np.int32]  # (n_groups,): sorted
    by_time: bool
    now_ms: int
    by_mask: bool
    mask: NDArray[np.bool_]  # (n,): rows beyond its end are not allowed


class Scratch(NamedTuple):
    """Working memory of one walk; borrowed, never shared by two walks at once."""

    visited: NDArray[np.uint8]  # (max_rows,): equal to the stamp where this walk has been
    stamp: NDArray[np.int64]  # (1,)
    best_score: NDArray[np.float32]  # min-heap of the best rows so far
    best_row: NDArray[np.int32]
    open_score: NDArray[np.float32]  # max-heap (scores negated) of rows whose links are still to be walked
    open_row: NDArray[np.int32]
    near_score: NDArray[np.float32]  # candidates for a row's links
    near_row: NDArray[np.int32]
    picked: NDArray[np.int32]  # links chosen for a row
    back_score: NDArray[np.float32]  # a neighbour's links, when one is added beyond its room
    back_row: NDArray[np.int32]
    back_picked: NDArray[np.int32]
