"""Refused events on their way to the file: accepted ones go first, and what waits is bounded."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable

from serving.writer import GroupWriter
from stream.dead_letters import MAX_ORIGINAL_BYTES, DeadLetter

__all__ = ["LetterBox"]

_EVERY_S = 0.05
_AT_ONCE, _AT_ONCE_BYTES = 200, 256 << 10
_ENVELOPE_BYTES = 512  # what a letter weighs beside its original


class LetterBox:
    """Gathers dead letters and stores a few, twenty times a second, between two commits of events.

    Bounds: at most `max_bytes` wait; what comes beyond is counted in `dropped` and not kept. However many are
    refused, accepted events wait for at most one transaction of 256 KiB, which is not synced.

    Args:
        writer: commits the accepted events; `store` runs on its thread.
        store: keeps letters, such as `Backend.bury`.
    """

    def __init__(
        self, writer: GroupWriter, store: Callable[[list[DeadLetter]], None], *, max_bytes: int = 4 << 20
    ) -> None:
        self._writer, self._store, self._max_bytes = writer, store, max_bytes
        self._waiting: deque[DeadLetter] = deque()
        self._mutex = threading.Lock()
        self._cooling = False
        self.waiting_bytes = 0
        self.dropped = 0

    def put(self, letters: list[DeadLetter]) -> None:
        """Take these as far as there is room; called from the event loop."""
        with self._mutex:
            for n, letter in enumerate(letters):
                size = _weight(letter)
                if self.waiting_bytes + size > self._max_bytes:
                    self.dropped += len(letters) - n
                    break
                self._waiting.append(letter._replace(original=letter.original[:MAX_ORIGINAL_BYTES]))
                self.waiting_bytes += size
        if not self._cooling:
            self._post()

    def _post(self) -> None:
        self._cooling = bool(self._waiting)
        if self._cooling:
            self._writer.between(self._store_some)
            asyncio.get_running_loop().call_later(_EVERY_S, self._post)

    def flush(self) -> None:
        """Hand the writer all that waits; before it stops."""
        self._writer.between(self._store_all)

    def _store_all(self) -> None:
        while self._waiting:
            self._store_some()

    def _store_some(self) -> None:
        if letters := self._take():
            self._store(letters)

    def _take(self) -> list[DeadLetter]:
        taken: list[DeadLetter] = []
        size = 0
        with self._mutex:
            while self._waiting and len(taken) < _AT_ONCE and size < _AT_ONCE_BYTES:
                taken.append(self._waiting.popleft())
                size += _weight(taken[-1])
            self.waiting_bytes -= size
        return taken


def _weight(letter: DeadLetter) -> int:
    return _ENVELOPE_BYTES + min(len(letter.original), MAX_ORIGINAL_BYTES)
