"""Formulas of the bandits room: functions of arrays, compiled, without state."""

from __future__ import annotations

__all__: list[str] = []
