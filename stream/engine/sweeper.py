"""When a worker collects cyclic garbage: the little that is new often, everything seldom.

Left to itself, Python walks all that lives whenever enough has come into being; with a hundred thousand open
slates those walks took a fifth of a worker's time. The learning path makes no cycles; clients of Kafka do.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from stream.clock import Clock

__all__ = ["Sweeper"]

_YOUNG_S, _ALL_S = 1.0, 600.0
_YOUNG = 1


class Sweeper:
    """Collects instead of the interpreter; ask it every second or so.

    Garbage of the last second is found at once, and what was still in use when that was looked for within ten
    minutes, with a pause of about a second for ten million objects.

    Args:
        clock: for the time since the last look.

    Example:
        >>> from stream.clock import ManualClock
        >>> clock = ManualClock()
        >>> with Sweeper(clock).in_charge() as sweeper:
        ...     clock.advance_ms(2_000)
        ...     print(gc.isenabled(), sweeper.sweep(), sweeper.sweep())
        False young nothing
        >>> gc.isenabled()
        True
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._young_s = self._all_s = clock.monotonic_s()

    @contextmanager
    def in_charge(self) -> Iterator[Sweeper]:
        """Nobody else collects in this context."""
        gc.disable()
        try:
            yield self
        finally:
            gc.enable()

    def sweep(self) -> str:
        """Look for what is due: `all`, `young`, or `nothing`; says which."""
        now = self._clock.monotonic_s()
        if now - self._all_s >= _ALL_S:
            self._young_s = self._all_s = now
            gc.collect()
            return "all"
        if now - self._young_s >= _YOUNG_S:
            self._young_s = now
            gc.collect(_YOUNG)
            return "young"
        return "nothing"
