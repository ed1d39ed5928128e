"""Whether columns that somebody else may have written hold numbers that can be learned."""

from __future__ import annotations

from math import isfinite
from typing import Any

import numpy as np

__all__ = ["FAR_MS", "are_finite", "are_times"]

FAR_MS = 1 << 62
"""No time lies farther from 1970, ms: differences of times then still fit 64 bits."""


_FEW = 16  # numbers up to which Python is faster than two passes of numpy


def are_finite(*columns: Any) -> bool:
    """Whether all numbers are finite.

    Example:
        >>> are_finite(np.ones(2), np.zeros(0)), are_finite(np.array([1.0, np.nan]))
        (True, False)
    """
    return all(
        all(map(isfinite, column.ravel().tolist()))
        if column.size <= _FEW
        else bool(np.isfinite(column).all())
        for column in columns
    )


def are_times(*columns: Any) -> bool:
    """Whether all whole numbers are within `FAR_MS`.

    Example:
        >>> are_times(np.array([5])), are_times(np.array([-(2**63)]))
        (True, False)
    """
    return all(
        all(-FAR_MS <= ts <= FAR_MS for ts in column.ravel().tolist())
        if column.size <= _FEW
        else -FAR_MS <= int(column.min()) <= int(column.max()) <= FAR_MS
        for column in columns
    )
