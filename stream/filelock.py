"""A lock on a file that the kernel releases when its holder dies."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from stream.errors import LogError, storage_error

__all__ = ["FileLock"]


class FileLock:
    """Hold `path` exclusively until `close()` or the end of the process; the file keeps the holder's pid.

    Raises:
        LogError: another process holds it (the message names its pid), or the file cannot be made.
    """

    def __init__(self, path: Path, what: str) -> None:
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            msg = f"{what} cannot be locked: {error}; check that the folder may be written"
            raise storage_error(msg, error) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(self._descriptor, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(self._descriptor)
            msg = f"{what} is in use by process {holder}; stop it first, or choose another folder"
            raise LogError(msg) from error
        # The pid is for messages: a full disk has no room for it and does not keep the lock from being held.
        with suppress(OSError):
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    @property
    def closed(self) -> bool:
        """Whether it was let go."""
        return self._descriptor < 0

    def close(self) -> None:
        """Let go; closing twice is fine."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
