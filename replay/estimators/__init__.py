"""Estimators, one a file; the name of a file is the kind that `[[estimators]]` chooses."""

from __future__ import annotations

__all__: list[str] = []
