"""Errors of the replay room.

FreshetError
└── ReplayError    a log cannot be replayed, or cannot answer the question that was asked
"""

from __future__ import annotations

from stream.errors import FreshetError

__all__ = ["ReplayError"]


class ReplayError(FreshetError):
    """A log that cannot be replayed, or arrays and names that an estimator or simulation cannot work with."""
