"""A stopwatch for what cannot be seen to begin or end, on a machine of any speed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

from stream.clock import Clock, WallClock

__all__ = ["Stopwatch"]

T = TypeVar("T")

_ROUNDING_S = 0.002
"""Of the times that are compared with it, which are whole milliseconds at both ends."""


class Stopwatch:
    """How long something took at least and at most, by looks at the clock before and after its two ends.

    What others measure lies between the two, however slow the machine is; on a quick one they are close.

    Example:
        >>> from stream.clock import ManualClock
        >>> clock = ManualClock(1_000)
        >>> watch = Stopwatch(clock)
        >>> clock.advance_ms(10)  # within these it begins
        >>> watch.begun()
        >>> clock.advance_ms(500)
        >>> watch.sees(lambda: False), clock.advance_ms(20), watch.sees(lambda: True)
        (False, None, True)
        >>> watch.least_s, watch.most_s
        (0.498, 0.532)
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or WallClock()
        self._began_ms = (self._clock.now_ms(), math.inf)
        self._ended_ms = (-math.inf, math.inf)
        self._has_ended = False

    def begun(self) -> None:
        """It has begun, since the watch was made or just now."""
        self._began_ms = (self._began_ms[0], self._clock.now_ms())

    def sees(self, has_ended: Callable[[], bool]) -> bool:
        """Look whether it has ended: between the last look that says no and the first that says yes."""
        if not self._has_ended:
            before_ms = self._clock.now_ms()
            self._has_ended = has_ended()
            self._ended_ms = (
                (self._ended_ms[0], self._clock.now_ms()) if self._has_ended else (before_ms, math.inf)
            )
        return self._has_ended

    def during(self, look: Callable[[], T]) -> T:
        """What a look finds of something that goes on: it has lasted until this look."""
        before_ms = self._clock.now_ms()
        found = look()
        self._ended_ms = (before_ms, self._clock.now_ms())
        return found

    @property
    def least_s(self) -> float:
        """It took no less."""
        return round((self._ended_ms[0] - self._began_ms[1]) / 1e3 - _ROUNDING_S, 6)

    @property
    def most_s(self) -> float:
        """It took no more."""
        return round((self._ended_ms[1] - self._began_ms[0]) / 1e3 + _ROUNDING_S, 6)
