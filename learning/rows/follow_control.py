"""Rows of `control`: the ranker, shared columns, the measures of all partitions as one, and marks."""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np

from bandits import PolicyError
from learners import LearnerError, Ranker
from learning.rows.codec import decode_control
from learning.rows.shared import SharedFrames
from stream.errors import FrameError
from stream.frame import MALFORMED, Frame

__all__ = ["ControlFrames"]


_Figure = (
    Annotated[int, msgspec.Meta(ge=-(2**62), le=2**62)] | Annotated[float, msgspec.Meta(ge=-1e300, le=1e300)]
)


class _Measures(msgspec.Struct):
    """A partition's measures, in the form that they are summed in."""

    organic: Annotated[int, msgspec.Meta(ge=0, le=2**62)]
    policies: dict[str, dict[str, _Figure]]


class ControlFrames:
    """The newest state of each, where it came since the last `take`.

    Args:
        ranker: one with the features that are served; it tells what fits, and is fed with everything.
        shared: takes the rows of shared columns.
    """

    def __init__(self, ranker: Ranker, shared: SharedFrames) -> None:
        self.shared = shared
        self._ranker = ranker
        self._measures: dict[str, Frame] = {}
        self.history: dict[int, int] = {}
        """By partition of `events`, the watermark (ms) that history has there."""
        self.trained = 0
        """What TRAIN has absorbed, wall clock ms."""
        self._changed: Frame = {}

    def put(self, key: str, value: bytes | None) -> None:
        """Take note of a row.

        Raises:
            FrameError: it is none, or of workers with other settings.
        """
        if value is None:
            self.shared.drop(key)
            if self._measures.pop(key, None) is not None:
                self._changed["measures"] = True
            return
        kind, state = decode_control(value)
        try:
            self._put(key, kind, state)
        except (PolicyError, LearnerError, *MALFORMED) as error:
            msg = f"a row of kind {kind!r} lacks something or holds something else: {error!r}"
            raise FrameError(msg) from error

    def _put(self, key: str, kind: str, state: Frame) -> None:
        if kind == "measures":
            self._measures[key] = msgspec.to_builtins(msgspec.convert(state, _Measures))
            self._changed["measures"] = True
            return
        if kind == "part":
            self.shared.put(key, state)
            return
        if kind == "progress":
            self.trained = int(state["absorbed_at"])
            return
        if kind == "centroids":  # a program of before wrote it
            self.shared.put(key, {"part": kind, "columns": state})
            return
        if kind == "history":
            self.history[int(key.removeprefix("history/"))] = int(state["watermark"])
            return
        if not state:
            msg = "a ranker has names and weights"
            raise ValueError(msg)
        self._ranker.apply(state)
        self._changed[kind] = state

    def take(self) -> Frame:
        """Changes of `ranker` and `measures`, and of shared columns."""
        frame, self._changed = self._changed, {}
        if "measures" in frame:
            frame["measures"] = _summed(list(self._measures.values()))
        return {**frame, **self.shared.take()}

    def snapshot(self) -> Frame:
        """All that was followed."""
        return {
            "ranker": self._ranker.snapshot(),
            "measures": self._measures,
            "history": [list(pair) for pair in self.history.items()],
            "trained": self.trained,
            "shared": self.shared.snapshot(),
        }

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described."""
        self._ranker.restore(frame["ranker"])
        self._measures, self._changed = dict(frame["measures"]), {}
        self.shared.restore(frame.get("shared", {}))
        if "centroids" in frame:  # copies of before had them apart
            self.shared.put("centroids", {"part": "centroids", "columns": frame["centroids"]})
        # Copies of before know nothing of these.
        self.trained = int(frame.get("trained", 0))
        self.history = {int(p): int(ts) for p, ts in frame.get("history", [])}


def _summed(parts: list[Frame]) -> Frame:
    policies: dict[str, dict[str, float]] = {}
    for part in parts:
        for name, counts in part["policies"].items():
            sums = policies.setdefault(name, dict.fromkeys(counts, 0))
            for what, n in counts.items():
                sums[what] = sums.get(what, 0) + n
    return {"policies": policies, "organic": int(np.sum([part["organic"] for part in parts], dtype=np.int64))}
