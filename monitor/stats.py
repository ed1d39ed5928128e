"""Means with their uncertainty, in one pass or from an array."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from monitor.errors import MeasureError

__all__ = ["Interval", "RunningMoments", "mean_interval", "paired_interval"]


class Interval(NamedTuple):
    """A mean with the limits of its confidence interval."""

    mean: float
    low: float
    high: float


@dataclass(slots=True)
class RunningMoments:
    """Mean and variance of a stream in constant memory (Welford 1962).

    m_t = m_{t-1} + (x_t - m_{t-1}) / t;  S_t = S_{t-1} + (x_t - m_{t-1}) (x_t - m_t).

    Example:
        >>> moments = RunningMoments()
        >>> for x in (1.0, 2.0, 4.0):
        ...     moments.add(x)
        >>> round(moments.mean, 3), round(moments.variance, 3)
        (2.333, 2.333)
    """

    count: int = 0
    mean: float = 0.0
    _squares: float = 0.0

    def add(self, x: float) -> None:
        """Take one more value."""
        self.count += 1
        before = self.mean
        self.mean += (x - before) / self.count
        self._squares += (x - before) * (x - self.mean)

    @property
    def variance(self) -> float:
        """Unbiased variance; 0 with fewer than two values."""
        return self._squares / (self.count - 1) if self.count > 1 else 0.0

    def interval(self, confidence: float = 0.95) -> Interval:
        """Student-t interval of the mean."""
        return _interval(self.mean, self.variance, self.count, confidence)


def mean_interval(values: npt.ArrayLike, confidence: float = 0.95) -> Interval:
    """Student-t interval of the mean of `values`, shape (n,).

    Raises:
        MeasureError: there are no values.

    Example:
        >>> [round(x, 3) for x in mean_interval([0.0, 1.0, 1.0, 0.0, 1.0])]
        [0.6, -0.08, 1.28]
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or x.size == 0:
        msg = f"an interval needs a non-empty array of shape (n,), got shape {x.shape}"
        raise MeasureError(msg)
    variance = float(x.var(ddof=1)) if x.size > 1 else 0.0
    return _interval(float(x.mean()), variance, x.size, confidence)


def paired_interval(ours: npt.ArrayLike, theirs: npt.ArrayLike, confidence: float = 0.95) -> Interval:
    """Interval of the mean difference ours - theirs over the same events, both of shape (n,).

    Raises:
        MeasureError: the lengths differ or there are no values.

    Example:
        >>> paired_interval([1, 1, 0, 1], [1, 0, 0, 0]).mean
        0.5
    """
    a, b = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    if a.shape != b.shape:
        msg = f"a paired interval needs two arrays of the same shape, got {a.shape} and {b.shape}"
        raise MeasureError(msg)
    return mean_interval(a - b, confidence)


def _interval(mean: float, variance: float, count: int, confidence: float) -> Interval:
    if count < 2:
        return Interval(mean, float("-inf"), float("inf"))
    half = float(stats.t.ppf(0.5 + confidence / 2, count - 1)) * (variance / count) ** 0.5
    return Interval(mean, mean - half, mean + half)
