"""Figures of Freshet beside those of others, from one run on one machine: ``python -m benchmarks``.

A benchmark is a module here with ``run(quick: bool) -> list[dict]``; each dictionary is a row with ``name``,
``value``, ``unit``, and ``peer``, ``peer_value``, ``ratio`` where there is somebody to compare with, plus
whatever explains it. How each is measured stands in docs/guides/benchmarks.md.
"""

from __future__ import annotations

__all__: list[str] = []
