"""The index on disk, so that a restarted worker need not build its graph."""

from __future__ import annotations

import logging
from pathlib import Path

from index import LiveIndex, load_index, save_index
from stream.clock import Clock
from stream.errors import SnapshotError
from stream.turns import Turns

__all__ = ["IndexFile"]

_log = logging.getLogger(__name__)

_EVERY_S = 300.0
_LOOK_S = 1.0
_CHANGED = 0.01


class IndexFile:
    """Writes the index every five minutes, if a hundredth of its rows were linked since, and at a clean stop.

    What lies in the file is checked against the tables when it is loaded (`ItemIndex.rebuild`), so it may be
    old. Worker 0 writes it and every worker reads it. Nothing is written while there is no graph: so few rows
    are quicker to copy than to read. Memory: a copy of the index while it is being written.

    Args:
        writes: whether this worker is the one that writes.
    """

    def __init__(self, index: LiveIndex, path: Path, clock: Clock, *, writes: bool) -> None:
        self._index, self._path, self._clock, self._writes = index, path, clock, writes
        self._turns = Turns("index-file", _LOOK_S, self._look)
        self._written_s = clock.monotonic_s()
        self._written = self._state()
        self.writes = 0

    def load(self) -> bool:
        """Take over what was written; a file that cannot be used is told of and costs a build."""
        if not self._path.exists():
            return False
        try:
            load_index(self._index, self._path)
        except SnapshotError as error:
            _log.warning("%s; the index is built anew", error)
            return False
        self._written = self._state()
        return True

    def start(self) -> None:
        """Begin to look whether it is due; what a killed writer left half written goes."""
        if self._writes:
            for leftover in self._path.parent.glob(f"{self._path.name}.*.aside"):
                leftover.unlink(missing_ok=True)
            self._turns.start()

    def stop(self) -> None:
        """End; what has changed since the last time is written."""
        self._turns.stop()
        if self._writes and self._state() != self._written:
            self.write()

    def write(self) -> None:
        """Write now, if there is a graph; a failure is told of and tried again later."""
        self._written_s, state = self._clock.monotonic_s(), self._state()
        if self._index.graph is None:
            return
        try:
            save_index(self._index, self._path)
        except SnapshotError as error:
            _log.warning("%s", error)
            return
        self._written = state
        self.writes += 1

    def _state(self) -> tuple[int, int, int]:
        """Builds, rows linked again, batches written: what has happened to the index so far."""
        index = self._index
        return index.n_rebuilds, index.relinker.n_relinked, index.version

    def _is_due(self) -> bool:
        builds, linked, _ = self._state()
        if builds != self._written[0]:
            return True  # the next restart must not pay for this build again
        aged = self._clock.monotonic_s() - self._written_s >= _EVERY_S
        return aged and linked - self._written[1] > _CHANGED * self._index.size

    def _look(self) -> None:
        if self._is_due():
            self.write()
