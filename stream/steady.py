"""The wall clock held against the clock that counts since the machine was started."""

from __future__ import annotations

import threading

__all__ = ["ADOPT_MS", "AHEAD_MS", "LEAP_MS", "SteadyTime", "why_ahead", "why_topics_ahead"]

LEAP_MS = 60_000
"""A difference up to this is followed: steps and slewing of NTP. Beyond it the clock has leapt."""
ADOPT_MS = 300_000
"""How long a leap forward must last to be the right time: a machine that was stopped, say."""

AHEAD_MS = 300_000
"""How far ahead of the present a stored time may be: as far as events of clients may be by default."""


def why_ahead(what: str, at_ms: int, now_ms: float) -> str:
    """That a stored time has not come yet, and what to do; empty where it is not ahead by more than that.

    Example:
        >>> why_ahead("the watermark of ./data", 3_700_000, 100_000.0)
        'the watermark of ./data is 3600 s ahead of the clock: it was written while the clock was wrong, or \
the clock is behind now. Nothing would be learned before it comes. Set the clock right; if it is, mend the \
folder with `freshet doctor --data DIR --repair-clock`'
    """
    return _why(what, at_ms - now_ms, "mend the folder with `freshet doctor --data DIR --repair-clock`")


def why_topics_ahead(what: str, at_ms: int, now_ms: float) -> str:
    """The same of topics on Kafka.

    Example:
        >>> why_topics_ahead("events/3", 3_700_000, 100_000.0).rpartition("; ")[2]
        'if it is, stop all workers and mend the topics with `freshet topics repair-clock`'
    """
    mend = "stop all workers and mend the topics with `freshet topics repair-clock`"
    return _why(what, at_ms - now_ms, mend)


def _why(what: str, ahead_ms: float, mend: str) -> str:
    if ahead_ms <= AHEAD_MS:
        return ""
    return (
        f"{what} is {ahead_ms / 1e3:.0f} s ahead of the clock: it was written while the clock was wrong, or "
        "the clock is behind now. Nothing would be learned before it comes. Set the clock right; if it is, "
        f"{mend}"
    )


class SteadyTime:
    """Time that goes on as it did when the wall clock leaps, so that a wrong one does no lasting harm.

    The other clock counts seconds since boot, sleep included, and nobody sets it. What is trusted is that
    clock and an offset, by these rules:

    * The wall clock is ahead by up to a minute: it is followed at once.
    * It is behind by up to a minute: time goes on at half speed until they meet, and never back.
    * It is ahead by more: it has leapt. Time goes on without it; if that lasts five minutes, it is right.
    * It is behind by more: it has leapt back, and is not followed, however long: events of the time between
      are written already. `leap_ms` says so until it comes back; else see the guide on operating.

    For any number of threads.

    Args:
        offset_ms: wall clock less the other one when it was last right; None: it is right now.

    Example:
        >>> time = SteadyTime()
        >>> time.read(1_000_000.0, 0.0), time.read(1_010_000.0, 5_000.0)
        (1000000.0, 1010000.0)
        >>> time.read(9_000_000.0, 6_000.0), time.leap_ms
        (1011000.0, 7989000)
        >>> time.read(1_012_000.0, 7_000.0), time.leap_ms
        (1012000.0, 0)
    """

    def __init__(self, offset_ms: float | None = None) -> None:
        self.offset_ms = offset_ms
        """What is trusted."""
        self.leap_ms = 0
        """How far the wall clock is ahead of trusted time; negative: behind; 0: it is trusted."""
        self.leapt_for_ms = 0.0
        """How long that has been so."""
        self._since_ms = self._read_ms = 0.0
        self._lock = threading.Lock()

    def read(self, wall_ms: float, boot_ms: float) -> float:
        """The time, from what both clocks show at one moment (ms)."""
        with self._lock:
            if self.offset_ms is None:
                self.offset_ms, self._read_ms = wall_ms - boot_ms, boot_ms
            ahead_ms = wall_ms - boot_ms - self.offset_ms
            passed_ms, self._read_ms = max(0.0, boot_ms - self._read_ms), boot_ms
            if abs(ahead_ms) > LEAP_MS:
                self.offset_ms += self._leapt(ahead_ms, boot_ms)
            else:
                self.leap_ms, self.leapt_for_ms = 0, 0.0
                self.offset_ms += max(ahead_ms, -passed_ms / 2)
            return boot_ms + self.offset_ms

    def _leapt(self, ahead_ms: float, boot_ms: float) -> float:
        """By how much time moves on because of a leap: usually nothing."""
        if not self.leap_ms or abs(ahead_ms - self.leap_ms) > LEAP_MS:
            self._since_ms = boot_ms
        self.leap_ms, self.leapt_for_ms = round(ahead_ms), boot_ms - self._since_ms
        if ahead_ms < 0 or self.leapt_for_ms < ADOPT_MS:
            return 0.0
        self.leap_ms, self.leapt_for_ms = 0, 0.0
        return ahead_ms

    @property
    def lost(self) -> bool:
        """Whether nobody knows what time it is: the clock has been behind for a minute."""
        return self.leap_ms < 0 and self.leapt_for_ms > LEAP_MS

    @property
    def trouble(self) -> str:
        """What is wrong with the clock, in words; empty while it is trusted."""
        if not self.leap_ms:
            return ""
        way = "ahead of" if self.leap_ms > 0 else "behind"
        return (
            f"the machine's clock has leapt: it is {abs(self.leap_ms) / 1e3:.0f} s {way} the time that has "
            "passed; is it set right?"
        )
