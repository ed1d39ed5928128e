"""Nudges: tiny datagrams between the processes of one machine that say "look again".

A nudge carries two numbers (for a worker: the last commit and `absorbed_at`; for the learner: the position
just appended and 0). They are hints: a lost one costs at most the waiting side's timeout.
"""

from __future__ import annotations

import os
import select
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol

from stream.errors import storage_error

__all__ = ["Notifier", "Nudge", "NudgeSocket", "NullNotifier", "SocketNotifier"]

_NUDGE = struct.Struct("<qq")
_MAX_PATH = 100  # sun_path holds 108 bytes


class Nudge(NamedTuple):
    """Sequence number (or position) and `absorbed_at`."""

    seq: int
    absorbed_at: int


class Notifier(Protocol):
    """Whoever wants to hear of commits."""

    def notify(self, seq: int, absorbed_at: int) -> None:
        """Pass it on without blocking and without failing."""


class NullNotifier:
    """Nobody listens."""

    def notify(self, seq: int, absorbed_at: int) -> None:
        """Do nothing."""


class SocketNotifier:
    """Sends to sockets that may or may not be there yet."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = list(paths)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def notify(self, seq: int, absorbed_at: int) -> None:
        """One datagram to each; nobody listening or a full queue is fine."""
        message = _NUDGE.pack(seq, absorbed_at)
        for path in self._paths:
            try:
                with _Address(path) as address:
                    self._socket.sendto(message, address)
            except OSError:
                continue

    def close(self) -> None:
        """Close the sending socket."""
        self._socket.close()


class NudgeSocket:
    """The waiting side; `fileno()` fits an event loop's reader.

    Raises:
        LogError: the socket cannot be made in that folder.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        try:
            path.unlink(missing_ok=True)
            with _Address(path) as address:
                self._socket.bind(address)
            path.chmod(0o600)
        except OSError as error:
            self._socket.close()
            msg = f"the socket {path.name} cannot be made: {error}; the data folder must be on a local disk"
            raise storage_error(msg, error) from error

    def fileno(self) -> int:
        """The descriptor, for `select` or an event loop."""
        return self._socket.fileno()

    def drain(self) -> Nudge | None:
        """Take everything that has arrived; the last of it, or None."""
        last: Nudge | None = None
        while True:
            try:
                message = self._socket.recv(_NUDGE.size)
            except BlockingIOError:
                return last
            if len(message) == _NUDGE.size:
                last = Nudge(*_NUDGE.unpack(message))

    def wait(self, timeout_s: float) -> Nudge | None:
        """Block until something arrives or `timeout_s` has passed, then `drain`."""
        select.select([self._socket], [], [], timeout_s)
        return self.drain()

    def close(self) -> None:
        """Close and remove the socket."""
        self._socket.close()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


class _Address:
    """The address of a socket file; a path too long for the kernel goes through its folder's descriptor."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def __enter__(self) -> str:
        if len(os.fsencode(self._path)) <= _MAX_PATH:
            return str(self._path)
        self._descriptor = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        return f"/proc/self/fd/{self._descriptor}/{self._path.name}"

    def __exit__(self, *exception: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
