"""Whether columns that somebody else may have written hold numbers that can be learned."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["FAR_MS", "are_finite", "are_times"]

FAR_MS = 1 << 62
"""No time lies farther from 1970, ms: differences of times then still fit 64 bits."""


def are_finite(*columns: Any) -> bool:
    """Whether all numbers are finite.

    Example:
        >>> are_finite(np.ones(2), np.zeros(0)), are_finite(np.array([1.0, np.nan]))
        (True, False)
    """
    return all(bool(np.isfinite(column).all()) for column in columns)


def are_times(*columns: Any) -> bool:
    """Whether all whole numbers are within `FAR_MS`.

    Example:
        >>> are_times(np.array([5])), are_times(np.array([-(2**63)]))
        (True, False)
    """
    return all(
        not column.size or -FAR_MS <= int(column.min()) <= int(column.max()) <= FAR_MS for column in columns
    )
