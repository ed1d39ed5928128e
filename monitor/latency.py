"""Recent latencies in a fixed ring, for percentiles that follow the present."""

from __future__ import annotations

import numpy as np

__all__ = ["LatencyWindow"]


class LatencyWindow:
    """The last `capacity` values of a latency, and their percentiles; memory is fixed.

    Example:
        >>> window = LatencyWindow(capacity=4)
        >>> for ms in (1.0, 2.0, 3.0, 4.0, 5.0):
        ...     window.add(ms)
        >>> window.percentile(50), window.count
        (3.5, 5)
    """

    def __init__(self, capacity: int = 4_096) -> None:
        self._ring = np.zeros(capacity, np.float64)
        self.count = 0
        self.total = 0.0

    def add(self, ms: float) -> None:
        """Take one more value, in ms; beyond the capacity the oldest goes."""
        self._ring[self.count % self._ring.size] = ms
        self.count += 1
        self.total += ms

    def percentile(self, q: float) -> float:
        """The q-th percentile (0 to 100) of what is held; NaN when nothing is."""
        held = self._ring[: min(self.count, self._ring.size)]
        return float(np.percentile(held, q)) if held.size else float("nan")
