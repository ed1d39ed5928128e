"""State of parts that are no longer configured: kept in snapshots until they are again."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bandits import Policy
from stream.frame import Frame

__all__ = ["Unclaimed"]

Int32 = npt.NDArray[np.int32]

_log = logging.getLogger(__name__)


class Unclaimed:
    """What a snapshot holds of policies that are not here, by their names in frames.

    Items may go meanwhile: their rows are written down, and taken from the policy when it comes back. Grows
    with what those policies held, which learn no more, and 4 bytes for each row freed since.

    Example:
        >>> from bandits import Uniform
        >>> kept = Unclaimed("policy:")
        >>> kept.restore({"policy:dice": {"n": 1}, "items": {}}, {"policy:uniform": Uniform()})
        >>> list(kept.snapshot())
        ['policy:dice']
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._states: dict[str, Frame] = {}
        self._removed: dict[str, Int32] = {}

    def restore(self, frame: Mapping[str, Any], parts: Mapping[str, Policy]) -> None:
        """Keep what `frame` has of other parts than `parts`, and give those back what was kept of them.

        `frame` is a whole snapshot; what was kept before stands under "unclaimed".
        """
        before: Mapping[str, Frame] = frame.get("unclaimed", {})
        self._states = {name: entry["state"] for name, entry in before.items()}
        self._removed = {name: entry["removed"] for name, entry in before.items()}
        for name, part in parts.items():
            if name in self._states and name not in frame:
                self._give_back(name, part)
        others = [name for name in frame if name.startswith(self._prefix) and name not in parts]
        new = [name for name in others if frame[name]]  # who keeps nothing has nothing to be kept
        self._states |= {name: frame[name] for name in new}
        self._removed |= dict.fromkeys(new, np.zeros(0, np.int32))
        if self._states:
            names = ", ".join(sorted(name.removeprefix(self._prefix) for name in self._states))
            _log.warning("kept, for they are not configured now: %s", names)

    def _give_back(self, name: str, part: Policy) -> None:
        part.restore(self._states.pop(name))
        part.remove_items(self._removed.pop(name))

    def remove_items(self, rows: Int32) -> None:
        """Write down item rows that were freed."""
        self._removed = {
            name: np.union1d(known, rows).astype(np.int32) for name, known in self._removed.items()
        }

    def snapshot(self) -> Frame:
        """What is kept, with the rows that were freed since."""
        return {
            name: {"state": state, "removed": self._removed[name]} for name, state in self._states.items()
        }
