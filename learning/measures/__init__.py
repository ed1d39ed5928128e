"""Measures, one a file; the name of a file is the kind that `[[measures]]` chooses."""

from __future__ import annotations

__all__: list[str] = []
