"""Limits of an interval around an off-policy estimate, which hold when rewards are rare."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from monitor.stats import beta_limit
from replay.ops.weighting import place_numbers

__all__ = ["mean_limit", "one_more", "within"]

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]


def one_more(weights: Float64, start: Int64) -> Float64:
    """Weights (j,) of one more round such as this log could have held; empty where no place has a weight.

    At place j a reward that was not seen would probably have come with sum w^2 / sum w over the rounds: a
    round is met in proportion to what the target gives it. The round ends at the place where that is largest.

    Example:
        >>> one_more(np.array([0.0, 10.0, 0.0]), np.array([0, 1, 2, 3])).tolist()
        [10.0]
    """
    place = place_numbers(start)
    total, squares = np.bincount(place, weights), np.bincount(place, weights**2)
    if not total.any():
        return np.zeros(0)
    typical = np.divide(squares, total, out=np.zeros_like(total), where=total > 0)
    return np.asarray(typical[: int(typical.argmax()) + 1], np.float64)


def mean_limit(scores: Float64, low: float, high: float, level: float) -> float:
    """Quantile `level` of the mean of `scores` (n,) by a Beta distribution on ``low..high``.

    Example:
        >>> round(mean_limit(np.array([1.0] + [0.0] * 100), 0.0, 1.0, 0.975), 4)
        0.0362
    """
    return beta_limit(float(scores.mean()), float(scores.var()), scores.size, low, high, level)


def within(low: float, high: float, least: float, most: float) -> tuple[float, float]:
    """The limits cut to ``least..most``; an interval that lies outside keeps its width where it fits.

    Example:
        >>> within(-0.1, 0.2, 0.0, 1.0), within(1.5, 1.75, 0.0, 1.0)
        ((0.0, 0.2), (0.75, 1.0))
    """
    width = min(high - low, most - least)
    if low >= most:
        return most - width, most
    if high <= least:
        return least, least + width
    return max(low, least), min(high, most)
