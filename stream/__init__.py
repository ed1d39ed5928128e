"""What happened, in order, once: events and codecs, event logs, the joiner, the engine, dead letters."""

from __future__ import annotations

__all__: list[str] = []
