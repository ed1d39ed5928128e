"""Shared columns that change with every step and are given out now and then."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from learners.errors import LearnerError
from learners.part import Columns
from stream.frame import Frame

__all__ = ["Published"]

Int32 = npt.NDArray[np.int32]

_NONE, _ONE = np.zeros(0, np.int32), np.zeros(1, np.int32)
_WRONG_MS = 600_000  # events of different partitions lie closer together; time that falls by more was wrong


class Published:
    """The shared columns that a part last gave out: what it exports, serves and is compared by.

    A network changes with every step; to send it with every commit would fill the topic. So the part calls
    `step` after each, which takes a copy at the first step that lies `every_ms` of event time behind the last
    copy. When that is depends on the order of what was learned alone, never on batches or commits, so whoever
    follows holds what the learner itself serves.

    Args:
        every_ms: of event time; 0: at each step.
        columns: what is given out before the first step.

    Example:
        >>> given = Published(1_000, {"w": np.zeros(2)})
        >>> [given.step(ts, lambda: {"w": np.ones(2)}) for ts in (5_000, 5_999, 6_000)]
        [True, False, True]
        >>> given.drain().size, given.drain().size, given.columns["w"].tolist()
        (1, 0, [1.0, 1.0])
    """

    def __init__(self, every_ms: int, columns: Columns) -> None:
        if every_ms < 0:
            msg = f"columns are published every 0 ms or more, got {every_ms}"
            raise LearnerError(msg)
        self._every_ms = every_ms
        self.columns: Columns = _copied(columns)
        """A copy that stays as it is until the next."""
        self._at_ms: int | None = None
        self._is_new = False

    def step(self, ts: int, columns: Callable[[], Columns]) -> bool:
        """A step was taken with what happened up to event time `ts`; whether its columns are given out."""
        at = self._at_ms
        if at is not None and at - _WRONG_MS <= ts < at + self._every_ms:
            return False
        self.columns, self._at_ms, self._is_new = _copied(columns()), ts, True
        return True

    def replace(self, columns: Columns) -> None:
        """Give these out at once, as when a part falls back to what it had before."""
        self.columns, self._is_new = _copied(columns), True

    def drain(self) -> Int32:
        """What `Part.touched("shared")` returns: one row if there is a copy that this did not tell of yet."""
        is_new, self._is_new = self._is_new, False
        return _ONE if is_new else _NONE

    def snapshot(self) -> Frame:
        """The copy, and when it was taken."""
        return {"columns": _copied(self.columns), "at_ms": self._at_ms, "is_new": self._is_new}

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described."""
        self.columns, self._at_ms = _copied(frame["columns"]), frame["at_ms"]
        self._is_new = frame["is_new"]


def _copied(columns: Columns) -> Columns:
    return {name: np.array(column) for name, column in columns.items()}
