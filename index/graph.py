"""The links over the rows, where walks begin, and the rows that wait to be taken in or out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from index.memory import reserve
from index.ops.records import Entry, Links, Rows

__all__ = ["Graph"]

_NO_ROWS = np.empty(0, np.int32)


class Graph:
    """One graph; a rebuild makes another and replaces it as a whole.

    `links` are changed in place by one linker at a time. `entry` and `dead` are replaced, never changed, so
    whoever holds one may go on with it.

    Attributes:
        dead: rows that left but are still walked through, until nothing points at them.
    """

    def __init__(self, max_rows: int, max_links: int, dim: int) -> None:
        self.links = Links(reserve((max_rows, max_links), np.int32), reserve((max_rows,), np.uint8))
        self.entry = Entry(_NO_ROWS, np.empty((0, dim), np.float32), _NO_ROWS)
        self.dead = _NO_ROWS

    def load(self, rows: NDArray[np.int32], links: NDArray[np.int32], degrees: NDArray[np.uint8]) -> None:
        """Take over links (n, max_links), given as row numbers, of `rows` (n,)."""
        self.links.to[rows] = links
        self.links.degree[rows] = degrees

    def sample_pivots(
        self, rows: Rows, linked: NDArray[np.int32], n_pivots: int, rng: np.random.Generator
    ) -> None:
        """Choose anew where walks begin: a uniform sample of the linked rows (n,)."""
        n = min(n_pivots, linked.size)
        chosen = np.sort(rng.choice(linked, n, replace=False)).astype(np.int32)
        self.entry = Entry(chosen, rows.units(chosen), self.entry.pending)

    def refresh_pivots(self, rows: Rows) -> None:
        """Copy the pivots' newest vectors."""
        pivots = self.entry.pivots
        self.entry = Entry(pivots, rows.units(pivots), self.entry.pending)

    def await_link(self, fresh: NDArray[np.int32]) -> None:
        """Let every search score `fresh` (n,), distinct and not waiting yet, until they are linked."""
        self._set_pending(np.concatenate([self.entry.pending, fresh]))

    def no_longer_await(self, rows: NDArray[np.int32]) -> None:
        """Take `rows` (n,) off the waiting list, those that are on it."""
        if self.entry.pending.size:
            self._set_pending(self.entry.pending[~np.isin(self.entry.pending, rows)])

    def _set_pending(self, pending: NDArray[np.int32]) -> None:
        self.entry = Entry(self.entry.pivots, self.entry.vectors, pending)

    def bury(self, gone: NDArray[np.int32]) -> None:
        """Remember rows (n,) that left, as far as they have links."""
        linked = gone[self.links.degree[gone] > 0]
        if linked.size:
            self.dead = np.union1d(self.dead, linked).astype(np.int32)

    def forget_dead(self, settled: NDArray[np.int32], still_gone: NDArray[np.bool_]) -> None:
        """End the walks through `settled` (n,) rows, where they are `still_gone` (n,) and not used again."""
        self.links.degree[settled[still_gone]] = 0
        self.dead = np.setdiff1d(self.dead, settled).astype(np.int32)
