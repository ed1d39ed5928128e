"""Kinds of scorers, one a module; the ranker weighs what they say of each candidate.

A module holds `Settings`, `build(settings, world)` and `needs(settings)`: the parts that it reads.
"""

from __future__ import annotations

__all__: list[str] = []
