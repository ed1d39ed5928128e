"""How good are the answers really: live queries, asked again of brute force."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from index.checks import EVERYTHING
from index.linked import LinkedIndex

__all__ = ["Recall", "RecallProbe"]


class Recall(NamedTuple):
    """Share of the true nearest that were found, over so many queries; 1.0 of none."""

    value: float
    n_queries: int


class RecallProbe:
    """Keeps a sample of recent queries and measures recall@k with them.

    Bound: `room` queries. Not part of the index's state: a search leaves the index as it was.

    Example:
        >>> from index import LiveIndex
        >>> index = LiveIndex(dim=8)
        >>> index.upsert(np.arange(8), np.eye(8, dtype=np.float32))
        >>> index.search(np.ones(8, np.float32), k=3).rows.size
        3
        >>> index.probe.measure(index)
        Recall(value=1.0, n_queries=1)
    """

    def __init__(self, dim: int, room: int = 256, every: int = 8) -> None:
        self._ring = np.zeros((room, dim), np.float32)
        self._every = every
        self._seen = 0

    def observe(self, unit: NDArray[np.float32]) -> None:
        """Keep one in `every` queries (dim,), the first included, over the oldest."""
        if self._seen % self._every == 0:
            self._ring[self._seen // self._every % len(self._ring)] = unit
        self._seen += 1

    @property
    def n_queries(self) -> int:
        """Queries in the sample."""
        return min(len(self._ring), -(-self._seen // self._every))

    def measure(
        self, index: LinkedIndex, k: int = 10, most: int = 64, *, between: Callable[[], None] = lambda: None
    ) -> Recall:
        """recall@k = mean over at most `most` of the kept queries of |live answer ∩ exact answer| / |exact
        answer|.

        `between` is called after each of them: an exact answer reads all vectors, and whoever shares the
        machine with requests may rest there.
        """
        n = min(most, self.n_queries)
        shares = []
        for unit in self._ring[:: max(1, self.n_queries // max(1, n))][:n]:
            query = unit.copy()
            if not query.any():
                continue  # a slot whose query is being written
            live = index.nearest(query, k).rows
            true = index.table.scan(query, EVERYTHING, k, exact=True).rows
            if true.size:
                shares.append(np.intersect1d(live, true).size / true.size)
            between()
        return Recall(float(np.mean(shares)) if shares else 1.0, len(shares))
