"""Means with their uncertainty, in one pass or from an array."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from monitor.errors import MeasureError

__all__ = ["Interval", "RunningMoments", "beta_limit", "bounded_interval", "mean_interval", "paired_interval"]


_NORMAL = 1e10  # from this size on a Beta is a normal distribution, and its quantile beyond what scipy can do


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

    @classmethod
    def of_sums(cls, count: int, total: float, squares: float) -> RunningMoments:
        """Moments of `count` values from their sum and the sum of their squares.

        Example:
            >>> RunningMoments.of_sums(2, 4.0, 10.0).variance  # 1 and 3
            2.0
        """
        mean = total / count if count else 0.0
        return cls(count, mean, max(squares - total * mean, 0.0))

    @property
    def variance(self) -> float:
        """Unbiased variance; 0 with fewer than two values."""
        return self._squares / (self.count - 1) if self.count > 1 else 0.0

    def interval(self, confidence: float = 0.95) -> Interval:
        """Student-t interval of the mean."""
        return _interval(self.mean, self.variance, self.count, confidence)

    def bounded(self, low: float, high: float, confidence: float = 0.95) -> Interval:
        """As `bounded_interval`, of the values taken so far; none of them lies outside ``low..high``."""
        spread = self._squares / self.count if self.count else 0.0
        return _bounded(self.mean, spread, self.count, low, high, confidence)


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


def bounded_interval(values: npt.ArrayLike, low: float, high: float, confidence: float = 0.95) -> Interval:
    """Interval of the mean of `values` (n,) that lie in ``low..high``: within that range, never without
    width.

    For values that are either `low` or `high` it is that of Clopper and Pearson (1934), which covers also
    when one of them is rare. Any others get the Beta distribution with their mean and variance; each limit is
    taken after one more value at its end of the range, as in the binomial case.

    Raises:
        MeasureError: there are no values, or one is outside.

    Example:
        >>> [round(x, 4) for x in bounded_interval([0.0] * 100, 0.0, 1.0)]
        [0.0, 0.0, 0.0362]
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or x.size == 0 or not (low <= x.min() and x.max() <= high):
        msg = f"an interval within [{low}, {high}] needs a non-empty array (n,) of such numbers, got {x}"
        raise MeasureError(msg)
    return _bounded(float(x.mean()), float(x.var()), x.size, low, high, confidence)


def beta_limit(mean: float, spread: float, count: int, low: float, high: float, level: float) -> float:
    """Quantile `level` of the Beta distribution on ``low..high`` that a mean of `count` values has.

    Its mean is `mean`, and its size nu makes ``spread / count`` the variance p (1 - p) / nu of a share p;
    `spread` is the variance of the values, divided by their number.

    Example:
        >>> round(beta_limit(0.01, 0.01 * 0.99, 100, 0.0, 1.0, 0.975), 4)  # one success in a hundred
        0.0366
    """
    share, variance = (mean - low) / (high - low), spread / count / (high - low) ** 2
    if share <= 0.0:
        return low
    if share >= 1.0:
        return high
    if variance <= 0.0:
        return mean
    from scipy import stats  # as in `_interval`

    size = share * (1.0 - share) / variance
    if size > _NORMAL:
        return mean + (high - low) * math.sqrt(variance) * float(stats.norm.ppf(level))
    return low + (high - low) * float(stats.beta.ppf(level, share * size, (1.0 - share) * size))


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
    # A third of what a process takes to import, and most never ask for an interval.
    from scipy import stats

    half = float(stats.t.ppf(0.5 + confidence / 2, count - 1)) * (variance / count) ** 0.5
    return Interval(mean, mean - half, mean + half)


def _bounded(mean: float, spread: float, count: int, low: float, high: float, confidence: float) -> Interval:
    limits = []
    for end, level in ((low, 0.5 - confidence / 2), (high, 0.5 + confidence / 2)):
        apart = end - mean
        more = mean + apart / (count + 1)
        spread_more = (count * spread + count / (count + 1) * apart**2) / (count + 1)
        limits.append(beta_limit(more, spread_more, count + 1, low, high, level))
    return Interval(mean, *limits)
