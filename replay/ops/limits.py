"""Limits of an interval around an off-policy estimate, which hold when rewards are rare."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from replay.ops.weighting import place_numbers

__all__ = ["one_more", "within"]

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
