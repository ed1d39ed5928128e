"""Says what has been under way for too long, and names it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stream.clock import Clock

__all__ = ["Watchdog"]

_LOOK_S = 0.5


class Watchdog:
    """Keeps what is under way, by name, and since when; grows with the names that are under way at once.

    It looks from a thread of its own, so that it speaks even if the event loop stands still.

    Args:
        clock: for the time since something began.
        limit_s: how long anything may take.
        bark: told once, with the names, when something takes longer.

    Example:
        >>> from stream.clock import ManualClock
        >>> clock = ManualClock()
        >>> watchdog = Watchdog(clock, 10.0, print)
        >>> with watchdog.under_way("events/3: commit"):
        ...     clock.advance_ms(11_000)
        ...     watchdog.look()
        events/3: commit has been under way for 11 s
        >>> watchdog.look()
    """

    def __init__(self, clock: Clock, limit_s: float, bark: Callable[[str], None]) -> None:
        self._clock = clock
        self._limit_s = limit_s
        self._bark = bark
        self._since: dict[str, float] = {}
        self._ended = threading.Event()

    @contextmanager
    def under_way(self, name: str) -> Iterator[None]:
        """Watch what is done in this context."""
        self.beat(name)
        try:
            yield
        finally:
            self._since.pop(name, None)

    def beat(self, name: str) -> None:
        """From here on, something of this name must happen again within the limit."""
        self._since[name] = self._clock.monotonic_s()

    def look(self) -> None:
        """Bark if something takes too long."""
        now = self._clock.monotonic_s()
        # A copy: the event loop changes it from its own thread.
        late = [
            (name, now - since) for name, since in dict(self._since).items() if now - since > self._limit_s
        ]
        if late:
            self._bark("; ".join(f"{name} has been under way for {age:.0f} s" for name, age in late))

    def start(self) -> None:
        """Look twice a second from a thread that ends with the process, or at `stop`."""
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(_LOOK_S):
            self.look()
