"""State of parts that are no longer configured: kept in snapshots until they are again."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from learners.part import Part
from stream.frame import Frame

__all__ = ["Unclaimed"]

Int32 = npt.NDArray[np.int32]

_log = logging.getLogger(__name__)

_NO_ROWS = np.zeros(0, np.int32)
_REMOVED = {"item": "removed", "user": "removed_users"}
"""Under what the rows of each side stand that were freed."""


class Unclaimed:
    """What a snapshot holds of policies and learners that are not here, by their names in frames.

    Items and users may go meanwhile: their rows are written down, and taken from the part when it comes back.
    Grows with what those parts held, which learn no more, and 4 bytes for each row freed since.

    Example:
        >>> kept = Unclaimed()
        >>> kept.restore({"policy:dice": {"n": 1}, "items": {}}, {"policy:uniform"}, ["policy:dice"])
        >>> list(kept.snapshot())
        ['policy:dice']
    """

    def __init__(self) -> None:
        self._kept: dict[str, Frame] = {}
        self.tells = True
        """Whether it says what it keeps; of many that have the same parts one is enough."""
        self.given_back: set[str] = set()
        """Parts that the last `restore` found again, as rows call them."""

    def restore(self, frame: Mapping[str, Any], here: Collection[str], stored: Iterable[str]) -> None:
        """Keep what `frame` has of parts that are not `here`, and what was kept before.

        `frame` is a whole snapshot, and `stored` names what in it is of policies and learners.
        """
        self.given_back = set()
        self._kept = {name: kept for name, kept in frame.get("unclaimed", {}).items() if name not in frame}
        for name in stored:
            if name not in here and frame.get(name):  # who keeps nothing has nothing to be kept
                self._kept[name] = {"state": frame[name], **dict.fromkeys(_REMOVED.values(), _NO_ROWS)}
        names = sorted(name.removeprefix("policy:") for name in self._kept.keys() - set(here))
        if names and self.tells:
            _log.warning("kept, for they are not configured now: %s", ", ".join(names))

    def give_back(self, name: str, part: Part) -> None:
        """Let a part that is here again go on from what was kept of it, if there is something."""
        if name in self._kept:
            kept = self._kept.pop(name)
            self.given_back.add(name.removeprefix("policy:"))
            part.restore(kept["state"])
            part.remove("item", kept["removed"])
            part.remove("user", kept.get("removed_users", _NO_ROWS))  # before, policies alone were kept

    def remove_items(self, rows: Int32) -> None:
        """Write down item rows that were freed."""
        self._remove("item", rows)

    def remove_users(self, rows: Int32) -> None:
        """Write down user rows that were freed."""
        self._remove("user", rows)

    def _remove(self, side: str, rows: Int32) -> None:
        key = _REMOVED[side]
        for kept in self._kept.values():
            kept[key] = np.union1d(kept.get(key, _NO_ROWS), rows).astype(np.int32)

    def snapshot(self) -> Frame:
        """What is kept, with the rows that were freed since."""
        return {name: dict(kept) for name, kept in self._kept.items()}
