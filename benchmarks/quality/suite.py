"""The parts of the suite: each module of this folder that has a function `rows`."""

from __future__ import annotations

import importlib
import pkgutil

import benchmarks.quality
from benchmarks.quality.rows import Row

__all__ = ["modules", "rows_of"]

_NO_PARTS = {"__main__", "bands", "hotel_lists", "rows", "suite", "table"}


def modules() -> list[str]:
    """The parts by name.

    Example:
        >>> {"recommending", "tables", "worlds"} <= set(modules())
        True
    """
    found = (module.name for module in pkgutil.iter_modules(benchmarks.quality.__path__))
    return sorted(name for name in found if name not in _NO_PARTS)


def rows_of(name: str, quick: bool) -> list[Row]:
    """What a part measures; nothing where its data or a package is not there."""
    measured: list[Row] = importlib.import_module(f"benchmarks.quality.{name}").rows(quick)
    return measured
