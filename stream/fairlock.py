"""A lock that is taken in turn: whoever asks first has it next."""

from __future__ import annotations

import threading
from types import TracebackType

__all__ = ["FairLock"]


class FairLock:
    """A re-entrant lock; a thread that gives it back and asks again waits behind those that asked before.

    With `threading.RLock` a thread that works in small steps takes the lock again before anyone who waits has
    woken up, and they wait for all of its steps.

    Example:
        >>> lock = FairLock()
        >>> with lock, lock:
        ...     print("mine")
        mine
    """

    __slots__ = ("_depth", "_main", "_owner", "_turn")

    def __init__(self) -> None:
        self._main, self._turn = threading.Lock(), threading.Lock()
        self._owner = 0
        self._depth = 0

    def __enter__(self) -> None:
        me = threading.get_ident()
        if self._owner != me:
            with self._turn:
                self._main.acquire()
            self._owner = me
        self._depth += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        if not self._depth:
            self._owner = 0
            self._main.release()
