"""A thread that does the same again and again until it is stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["Turns"]


class Turns:
    """A thread that takes a turn every `every_s` seconds, the first after that time.

    Args:
        name: of the thread.
        turn: what to do; an error of it ends the thread.

    Example:
        >>> enough, taken = threading.Event(), []
        >>> turns = Turns("example", 0.001, lambda: (taken.append(1), enough.set()))
        >>> turns.start()
        >>> enough.wait(60)
        True
        >>> turns.stop()
        >>> turns.stopped, len(taken) > 0
        (True, True)
    """

    def __init__(self, name: str, every_s: float, turn: Callable[[], object]) -> None:
        self._every_s, self._turn = every_s, turn
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)

    @property
    def stopped(self) -> bool:
        """Whether the end was asked for: a long turn looks here."""
        return self._stop.is_set()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, after the turn that is being taken; nothing where it never began."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _loop(self) -> None:
        while not self._stop.wait(self._every_s):
            self._turn()
