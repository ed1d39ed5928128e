"""All connections of a worker: how many there may be, who goes first, and a look at each once a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from serving.connection import Bounds, Connection, Reading
from serving.settings import ServeSettings
from stream.open_files import raise_file_limit

__all__ = ["Connections", "room_for_connections"]

_EVERY_S = 1.0
_LEAST = 8
_SHARE = 16  # one in so many goes when there is no room: looking for them costs little a new one


def room_for_connections(most_files: int, open_files: int, wanted: int) -> int:
    """Connections that a process may keep and still open files of its own: an eighth stays free.

    Example:
        >>> room_for_connections(1_024, 40, 8_192), room_for_connections(1 << 20, 40, 8_192)
        (856, 8192)
    """
    free = most_files - open_files - max(most_files // 8, 24)
    return max(_LEAST, min(wanted, free))


def _open_files() -> int:
    try:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())
    except OSError:
        return 64  # another system than Linux


class Connections:
    """Keeps connections within their number and their time.

    Bounds: `limit` connections, set by `serve.max_connections` and the open files that the process may have;
    beyond it those go that have been silent longest, so that whoever asks for health is answered.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self.bounds = Bounds(settings.receive_s, settings.receive_bytes_s)
        self.limit = settings.max_connections
        self.evicted = 0
        self._open: set[Connection] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._open)

    @property
    def protocol(self) -> type[asyncio.Protocol]:
        """What uvicorn calls for each new connection."""
        make: Callable[..., Connection] = self._make
        return cast("type[asyncio.Protocol]", make)

    def _make(self, **given: Any) -> Connection:
        return Connection(self, **given)

    def fit_files(self) -> None:
        """Raise the limit of open files, and keep connections below it."""
        self.limit = room_for_connections(raise_file_limit(), _open_files(), self.limit)

    def entered(self, connection: Connection) -> None:
        """One more is open; where there is no room, others go."""
        if len(self._open) >= self.limit:
            self._make_room()
        self._open.add(connection)
        if self._timer is None:
            self._look_later()

    def left(self, connection: Connection) -> None:
        """One is closed."""
        self._open.discard(connection)

    def _make_room(self) -> None:
        """End those that were silent longest: without a request, else within a head, else within a body."""
        rank = {Reading.NOTHING: 0, Reading.HEAD: 1, Reading.BODY: 2}
        idle = [c for c in self._open if not c.answering or c.reading is Reading.BODY]
        idle.sort(key=lambda c: (rank[c.reading], c.since_s))
        for connection in idle[: max(1, self.limit // _SHARE)]:
            self.evicted += 1
            connection.transport.abort()
            self._open.discard(connection)

    def _look_later(self) -> None:
        loop = asyncio.get_running_loop()
        due_s = loop.time() + _EVERY_S
        self._timer = loop.call_at(due_s, self._look, due_s)

    def _look(self, due_s: float) -> None:
        now_s = asyncio.get_running_loop().time()
        # After a stall of our own, what came meanwhile is read before anybody is called slow.
        if now_s - due_s < _EVERY_S:
            for connection in tuple(self._open):
                connection.look(now_s)
        self._timer = None
        if self._open:
            self._look_later()
