"""The only module that asks the operating system for the time."""

from __future__ import annotations

import logging
import os
import time
from typing import Protocol

from stream.steady import SteadyTime

__all__ = ["OFFSET_VARIABLE", "Clock", "ManualClock", "WallClock"]

OFFSET_VARIABLE = "FRESHET_CLOCK_OFFSET"
"""In the environment of children: the offset (ms) that their parent trusts, for one that starts in a leap."""


def _stated_offset() -> float | None:
    try:
        return float(os.environ[OFFSET_VARIABLE])
    except (KeyError, ValueError):
        return None


# One for the process, so that all its parts have the same time.
_steady = SteadyTime(_stated_offset())
_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_log = logging.getLogger(__name__)


class Clock(Protocol):
    """A source of time, handed to whoever needs it."""

    def now_ms(self) -> float:
        """Milliseconds since the Unix epoch."""

    def monotonic_s(self) -> float:
        """Seconds from an arbitrary origin, never going back."""

    def sleep_s(self, seconds: float) -> None:
        """Let `seconds` pass."""

    @property
    def steady(self) -> SteadyTime:
        """What is trusted of the wall clock."""


class WallClock:
    """The machine's clock, as far as it is trusted (`SteadyTime`): the same for the whole process.

    Example:
        >>> WallClock().now_ms() > 1_700_000_000_000
        True
    """

    def now_ms(self) -> float:
        """Milliseconds since the Unix epoch, with a fraction."""
        was_right = not _steady.leap_ms
        now_ms = _steady.read(time.time_ns() / 1e6, time.clock_gettime_ns(_BOOT) / 1e6)
        if was_right is bool(_steady.leap_ms):
            _log.error("%s", _steady.trouble or "the machine's clock is trusted again")
        return now_ms

    @property
    def steady(self) -> SteadyTime:
        """What is trusted of the wall clock."""
        self.now_ms()
        return _steady

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
        self.steady = SteadyTime()
        """Always trusted, unless it is read with other times."""

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
