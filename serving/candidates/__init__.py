"""Kinds of sources of candidates, one a module.

A module holds `Settings`, `build(settings, world)` and `needs(settings)`: the parts that it reads, of those
that a serving worker has; `index` is its `serving.ItemIndex`.
"""

from __future__ import annotations

__all__: list[str] = []
