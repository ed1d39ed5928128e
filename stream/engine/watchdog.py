"""Says what has been under way for too long, and names it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from stream.clock import Clock

__all__ = ["Watchdog"]

_LOOK_S = 0.5


class Watchdog:
    """Keeps what is under way, by name, and since when; grows with the names that are under way at once.

    It looks from a thread of its own, so that it speaks even if the event loop stands still.

    Args:
        clock: for the time since something began.
        limit_s: how long anything may take without progress.
        bark: told, with the names, when something takes longer.

    Example:
        >>> from stream.clock import ManualClock
        >>> clock = ManualClock()
        >>> watchdog = Watchdog(clock, 10.0, print)
        >>> with watchdog.under_way("events/3: commit"):
        ...     clock.advance_ms(11_000)
        ...     watchdog.look()
        events/3: commit has made no progress for 11 s
        >>> watchdog.look()
    """

    def __init__(self, clock: Clock, limit_s: float, bark: Callable[[str], None]) -> None:
        self._clock = clock
        self._limit_s = limit_s
        self._bark = bark
        self._watched: dict[str, _Watched] = {}
        self._ended = threading.Event()

    @contextmanager
    def under_way(self, name: str, progress: Callable[[], object] = lambda: None) -> Iterator[None]:
        """Watch what is done in this context; as long as the answer of `progress` changes, all is well."""
        self._watched[name] = _Watched(self._clock.monotonic_s(), progress, progress())
        try:
            yield
        finally:
            self._watched.pop(name, None)

    def beat(self, name: str) -> None:
        """From here on, something of this name must happen again within the limit."""
        self._watched[name] = _Watched(self._clock.monotonic_s())

    def look(self) -> None:
        """Bark if something takes too long."""
        now = self._clock.monotonic_s()
        late = []
        # A copy: the event loop changes it from its own thread.
        for name, watched in dict(self._watched).items():
            reached = watched.progress()
            if reached != watched.reached:
                watched.reached, watched.since = reached, now
            elif now - watched.since > self._limit_s:
                late.append(f"{name} has made no progress for {now - watched.since:.0f} s")
        if late:
            self._bark("; ".join(late))

    def start(self) -> None:
        """Look twice a second from a thread that ends with the process, or at `stop`."""
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(_LOOK_S):
            self.look()


@dataclass(slots=True)
class _Watched:
    since: float
    progress: Callable[[], object] = lambda: None
    reached: object = None
