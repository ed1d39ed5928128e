"""Errors of the monitor room.

FreshetError
└── MeasureError    a metric was asked for what it cannot answer
"""

from __future__ import annotations

from stream.errors import FreshetError

__all__ = ["MeasureError"]


class MeasureError(FreshetError):
    """A metric was given arrays that do not fit, or nothing at all to measure."""
