"""A thread that looks after a worker's files: forgotten users are taken out, what is too old is dropped."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from stream.errors import FreshetError
from stream.housekeeping import Housekeeping
from stream.room import has_free
from stream.turns import Turns

__all__ = ["Housekeeper"]

_log = logging.getLogger(__name__)

_EVERY_S = 0.5
_LEAST_BYTES = 1 << 20


class Housekeeper:
    """Runs `Housekeeping` twice a second and knows when the forgets of the last run are done.

    Args:
        chores: what is to do for this worker's files.
        forgets: ids of all forgets that are under way on the machine.
        lost: which file was deleted underneath, empty when none was; then there is nothing to look after.
        folder: where the files are; a disk without room there is told of, also when nothing is written.
    """

    def __init__(
        self,
        chores: Housekeeping,
        forgets: Callable[[], Sequence[int]],
        lost: Callable[[], str],
        folder: Path,
    ) -> None:
        self._chores, self._forgets, self._lost, self._folder = chores, forgets, lost, folder
        self._full = False
        self._said = ""
        self._due = max(forgets(), default=0)
        self._turns = Turns("housekeeping", _EVERY_S, self.turn)
        self.clean = self._due == 0

    def start(self) -> None:
        """Begin."""
        self._turns.start()

    def stop(self) -> None:
        """End, after what is ready to be forgotten has been taken out."""
        self._turns.stop()
        self.turn()

    @property
    def why_not_ready(self) -> str:
        """A full disk, and forgets that were under way at the start, keep a worker from being ready."""
        if self._full:
            return f"no room is left on the disk of {self._folder.name}: nothing can be learned; free space"
        return "" if self.clean else "users are being forgotten in files since the last stop; a moment"

    def turn(self) -> None:
        """One look at everything; what goes wrong is logged and tried again."""
        if self._lost():
            return
        self._full = not has_free(self._folder, _LEAST_BYTES)
        try:
            self._chores.run()
            if not self.clean:
                self.clean = not any(forget <= self._due for forget in self._forgets())
        except FreshetError as error:
            # Twice a second the same, for as long as a disk is full.
            if self._said != (said := str(error)):
                _log.warning("%s", said)
            self._said = said
