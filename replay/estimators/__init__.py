"""Estimators, one a file."""

from __future__ import annotations

from replay.estimators.base import Estimator
from replay.estimators.ips import Ips
from replay.estimators.snips import Snips

__all__ = ["ESTIMATORS"]

ESTIMATORS: tuple[Estimator, ...] = (Ips(), Snips())
"""What `freshet replay` reports."""
