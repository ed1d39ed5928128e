"""Sums over lists of what several orders score on each, so that orders are compared list by list."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from monitor import Interval, RunningMoments

__all__ = ["Halves", "PairedSums"]

Float64 = npt.NDArray[np.float64]

_N, _V, _VV, _D, _DD = range(5)
_MOST_CHUNKS = 512


class PairedSums:
    """Means of M metrics of each of O orders, and of what the first order has above each, in constant memory.

    A NaN is no value: it counts in no mean.

    Example:
        >>> sums = PairedSums(2, 1)
        >>> for ours, theirs in ((1.0, 0.5), (0.5, 0.5), (1.0, 0.0)):
        ...     sums.add(np.array([[ours], [theirs]]))
        >>> sums.lists, round(sums.mean(0, 0), 3), sums.minus(1, 0).mean
        (3, 0.833, 0.5)
    """

    def __init__(self, n_orders: int, n_metrics: int, sums: Float64 | None = None, lists: int = 0) -> None:
        self.sums: Float64 = np.zeros((5, n_orders, n_metrics)) if sums is None else sums
        """Number, sum and sum of squares of values, sum and sum of squares of differences."""
        self.lists = lists

    def add(self, values: Float64) -> None:
        """Take the metrics (O, M) of one list."""
        self.sums += _moments(values)
        self.lists += 1

    def count(self, order: int, metric: int) -> int:
        """Number of lists that have this metric."""
        return int(self.sums[_N, order, metric])

    def mean(self, order: int, metric: int) -> float:
        """Mean of a metric; NaN where there is no value."""
        n = self.sums[_N, order, metric]
        return float(self.sums[_V, order, metric] / n) if n else float("nan")

    def interval(
        self, order: int, metric: int, bounds: tuple[float, float] | None = (0, 1)
    ) -> Interval | None:
        """Mean of a metric with its interval, within `bounds` if there are any; None without a value."""
        return self._interval(order, metric, _V, bounds)

    def minus(self, order: int, metric: int, bounds: tuple[float, float] | None = (-1, 1)) -> Interval | None:
        """Mean of the first order's value less that of another, paired by list; None without a value."""
        return self._interval(order, metric, _D, bounds)

    def _interval(
        self, order: int, metric: int, at: int, bounds: tuple[float, float] | None
    ) -> Interval | None:
        n, total, squares = (float(self.sums[row, order, metric]) for row in (_N, at, at + 1))
        if not n:
            return None
        found = RunningMoments.of_sums(int(n), total, squares)
        return found.interval() if bounds is None else found.bounded(*bounds)


def _moments(values: Float64) -> Float64:
    """What one list adds to `PairedSums.sums` (5, O, M): of a difference nothing where either is NaN."""
    is_known = ~np.isnan(values)
    v = np.where(is_known, values, 0.0)
    d = np.where(is_known & is_known[0], v[0] - v, 0.0)
    return np.stack((is_known.astype(np.float64), v, v * v, d, d * d))


class Halves:
    """The second half of a log whose length nobody knows before its end, in constant memory.

    Lists are summed in up to 512 chunks of one length, which doubles when they are full; so the half begins
    at the right list in logs of up to 512, and at most 1/512 of the log behind it in longer ones.

    Example:
        >>> halves = Halves(1, 1)
        >>> for n in range(7):
        ...     halves.add(np.array([[float(n)]]))
        >>> second = halves.second()
        >>> second.lists, second.mean(0, 0)
        (4, 4.5)
    """

    def __init__(self, n_orders: int, n_metrics: int) -> None:
        self._chunks = np.zeros((_MOST_CHUNKS, 5, n_orders, n_metrics))
        self._length = 1
        self.lists = 0

    def add(self, values: Float64) -> None:
        """Take the metrics (O, M) of the next list."""
        at = self.lists // self._length
        if at == _MOST_CHUNKS:
            self._chunks[: at // 2] = self._chunks[::2] + self._chunks[1::2]
            self._chunks[at // 2 :] = 0.0
            self._length *= 2
            at //= 2
        self._chunks[at] += _moments(values)
        self.lists += 1

    def second(self) -> PairedSums:
        """The sums over the second half of the lists so far."""
        first = -(-(self.lists // 2) // self._length)
        _, _, n_orders, n_metrics = self._chunks.shape
        lists = max(self.lists - first * self._length, 0)
        return PairedSums(n_orders, n_metrics, self._chunks[first:].sum(axis=0), lists)
