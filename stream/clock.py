"""The only module that asks the operating system for the time."""

from __future__ import annotations

import time
from typing import Protocol

__all__ = ["Clock", "ManualClock", "WallClock"]


class Clock(Protocol):
    """A source of time, handed to whoever needs it."""

    def now_ms(self) -> float:
        """Milliseconds since the Unix epoch."""

    def monotonic_s(self) -> float:
        """Seconds from an arbitrary origin, never going back."""

    def sleep_s(self, seconds: float) -> None:
        """Let `seconds` pass."""


class WallClock:
    """The machine's clock.

    Example:
        >>> WallClock().now_ms() > 1_700_000_000_000
        True
    """

    def now_ms(self) -> float:
        """Milliseconds since the Unix epoch, with a fraction."""
        return time.time_ns() / 1e6

    def monotonic_s(self) -> float:
        """Seconds of the monotonic clock."""
        return time.monotonic()

    def sleep_s(self, seconds: float) -> None:
        """Block this thread."""
        time.sleep(max(0.0, seconds))


class ManualClock:
    """A clock that stands still until it is advanced.

    Example:
        >>> clock = ManualClock(1_000)
        >>> clock.advance_ms(250)
        >>> clock.now_ms()
        1250.0
    """

    def __init__(self, start_ms: float = 0.0) -> None:
        self._now_ms = float(start_ms)

    def now_ms(self) -> float:
        """The time it was set to."""
        return self._now_ms

    def monotonic_s(self) -> float:
        """The same time in seconds."""
        return self._now_ms / 1e3

    def sleep_s(self, seconds: float) -> None:
        """Advance instead of waiting."""
        self._now_ms += max(0.0, seconds) * 1e3

    def advance_ms(self, ms: float) -> None:
        """Move forward by `ms` milliseconds."""
        self._now_ms += ms
