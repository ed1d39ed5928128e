"""Rows of `control`: the ranker, the columns that parts share, and marks."""

from __future__ import annotations

from bandits import PolicyError
from learners import LearnerError, Ranker
from learning.measures_before import columns_before
from learning.rows.checks import SAME_SETTINGS
from learning.rows.codec import decode_control
from learning.rows.shared import SharedFrames, shared_key
from stream.errors import FrameError
from stream.frame import MALFORMED, Frame

__all__ = ["ControlFrames"]

_TRAINED = "ranker/train"


class ControlFrames:
    """The newest state of each, where it came since the last `take`.

    Args:
        ranker: one with the features that are served; it tells what fits, and is fed with everything.
        shared: takes the rows of shared columns.
    """

    def __init__(self, ranker: Ranker, shared: SharedFrames) -> None:
        self.shared = shared
        self._ranker = ranker
        self.history: dict[int, int] = {}
        """By partition of `events`, the watermark (ms) that history has there."""
        self.trained = 0
        """What TRAIN has absorbed, wall clock ms."""
        self._is_trained = False  # TRAIN has written the ranker; an older worker may still do so
        self._changed: Frame = {}
        self._unlike = ""

    @property
    def misfits(self) -> dict[str, str]:
        """By part how the settings differ under which its newest rows were written."""
        own = {"ranker": self._unlike} if self._unlike else {}
        return own | dict(self.shared.misfits.values())

    def put(self, key: str, value: bytes | None) -> None:
        """Take note of a row.

        Raises:
            FrameError: it is none, or of workers with other settings.
        """
        if value is None:
            self.shared.drop(key)
            return
        kind, state = decode_control(value)
        try:
            self._put(key, kind, state)
        except (PolicyError, LearnerError, *MALFORMED) as error:
            msg = f"a row of kind {kind!r} lacks something or holds something else: {error!r}"
            raise FrameError(msg) from error

    def _put(self, key: str, kind: str, state: Frame) -> None:
        if kind == "measures":
            self._put_measures(key.removeprefix("measures/"), state)
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
        if kind == "pace":
            return  # workers tell each other
        if kind == "history":
            self.history[int(key.removeprefix("history/"))] = int(state["watermark"])
            return
        if not state:
            msg = "a ranker has names and weights"
            raise ValueError(msg)
        if self._is_trained and key != _TRAINED:
            return
        self._is_trained = key == _TRAINED
        try:
            self._ranker.apply(state)
        except (PolicyError, LearnerError) as error:
            self._unlike = f"{error}; {SAME_SETTINGS}"
            raise
        self._unlike = ""
        self._changed[kind] = state

    def _put_measures(self, partition: str, state: Frame) -> None:
        """A partition's measures, which a program of before wrote: of this and the rows of now the later one
        counts."""
        for name, columns in columns_before(state).items():
            self.shared.put(shared_key(name, "users", partition), {"part": name, "columns": columns})

    def take(self) -> Frame:
        """Changes of `ranker`, and of shared columns."""
        frame, self._changed = self._changed, {}
        return {**frame, **self.shared.take()}

    def snapshot(self) -> Frame:
        """All that was followed."""
        return {
            "ranker": self._ranker.snapshot(),
            "history": [list(pair) for pair in self.history.items()],
            "trained": self.trained,
            "is_trained": self._is_trained,
            "shared": self.shared.snapshot(),
        }

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described."""
        self._ranker.restore(frame["ranker"])
        self._changed = {}
        self.shared.restore(frame.get("shared", {}))
        if "centroids" in frame:  # copies of before had them apart
            self.shared.put("centroids", {"part": "centroids", "columns": frame["centroids"]})
        for key, state in frame.get("measures", {}).items():
            self._put_measures(key.removeprefix("measures/"), state)
        # Copies of before know nothing of these.
        self.trained = int(frame.get("trained", 0))
        self._is_trained = bool(frame.get("is_trained", False))
        self.history = {int(p): int(ts) for p, ts in frame.get("history", [])}
