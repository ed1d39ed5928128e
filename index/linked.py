"""An index seen from behind: what those who keep its links and its recall in shape may touch."""

from __future__ import annotations

from threading import Lock
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from index.base import Answers
from index.graph import Graph
from index.ops.records import Scratch
from index.settings import LiveSettings
from index.table import RowTable

__all__ = ["LinkedIndex"]


class LinkedIndex(Protocol):
    """A table of rows, a graph over it, and the locks that tell who may change which.

    `LiveIndex` is one. `rebuild`, `Relinker` and `RecallProbe` work on it through this, so that the index may
    use them in turn.
    """

    settings: LiveSettings
    table: RowTable
    graph: Graph | None
    """None while the index is small enough to be scanned."""
    writing: Lock
    """One writer at a time; never held for longer than a batch takes to copy."""
    linking: Lock
    """One linker at a time."""
    rebuilding: Lock
    """One rebuild at a time."""
    rng: np.random.Generator
    """Draws the pivots."""
    n_rebuilds: int

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""

    @property
    def size(self) -> int:
        """Rows that have a vector now."""

    def nearest(self, unit: NDArray[np.float32], k: int) -> Answers:
        """The `k` rows nearest to a unit query (dim,); the probe does not see it."""

    def borrow_scratch(self) -> Scratch:
        """Working memory for one walk."""

    def return_scratch(self, scratch: Scratch) -> None:
        """Give it back for the next walk."""
