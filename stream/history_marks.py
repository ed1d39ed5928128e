"""How far history was accepted by each worker of a data folder, for the others to see at once."""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from pathlib import Path

__all__ = ["HistoryMarks"]

_NUMBER = struct.Struct("<q")


class HistoryMarks:
    """A small file of numbers, one a worker: the largest `ts` (ms) of the history that it accepted.

    The learner's commits say the same a little later. In between, and after a restart with much that is
    accepted and not learned, this file says what is already too late. It is an aid: without it such events
    are accepted and counted as late by the joiner.

    Example:
        >>> import tempfile
        >>> home = tempfile.TemporaryDirectory()
        >>> mine, other = (HistoryMarks(Path(home.name) / "marks", worker) for worker in (0, 3))
        >>> other.newest, mine.put(1_700_000_000_000), other.put(5), other.newest
        (-1, None, None, 1700000000000)
        >>> mine.close(); other.close(); home.cleanup()
    """

    def __init__(self, path: Path, worker: int) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self._at = _NUMBER.size * worker
        mine = os.pread(self._file, _NUMBER.size, self._at)
        self._mine = int(_NUMBER.unpack(mine)[0]) if len(mine) == _NUMBER.size else 0

    @property
    def newest(self) -> int:
        """The largest number of all workers; -1 where none has accepted history."""
        data = os.pread(self._file, 1 << 16, 0)
        numbers = (ts for (ts,) in _NUMBER.iter_unpack(data[: len(data) // _NUMBER.size * _NUMBER.size]))
        return max(numbers, default=0) or -1

    def put(self, ts: int) -> None:
        """This worker has accepted history up to `ts`."""
        if ts > self._mine:
            self._mine = ts
            # On a full disk the aid goes without.
            with suppress(OSError):
                os.pwrite(self._file, _NUMBER.pack(ts), self._at)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
