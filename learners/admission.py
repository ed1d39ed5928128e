"""Who gets a row: admission by occurrence, and its probabilistic forms."""

from __future__ import annotations

import msgspec
import numpy as np

from learners.count_filter import CountFilter
from learners.errors import LearnerError
from learners.ops.hashing import uniform
from learners.ops.table import admits
from stream.frame import Frame

__all__ = ["Admission", "Gate"]

_KINDS = ("all", "threshold", "share", "equal")


class Admission(msgspec.Struct, frozen=True, kw_only=True):
    """The rule of one table: `rule` is all, threshold, share or equal.

    `threshold` sightings admit an id; `share` admits with probability sightings / threshold each time,
    `equal` with 1 - 0.05^(1 / threshold). `width`, `splits` and `split_sightings` size the
    ageing count filter.
    """

    rule: str = "all"
    threshold: int = 1
    width: int = 65_536
    splits: int = 5
    split_sightings: int = 32_768


class Gate:
    """Decides, sighting by sighting, whether an unknown id enters; draws are keyed by (seed, id, sighting).

    Memory: that of one `CountFilter`, none at all where everyone is admitted.

    Example:
        >>> gate = Gate(Admission(rule="threshold", threshold=3), seed=0)
        >>> [gate.passes(7) for _ in range(4)]
        [False, False, True, True]
    """

    def __init__(self, admission: Admission, *, seed: int) -> None:
        if admission.rule not in _KINDS or admission.threshold < 1:
            msg = (
                f"admission {admission.rule!r} with threshold {admission.threshold}: expected one of {_KINDS}"
                " and a threshold of at least 1"
            )
            raise LearnerError(msg)
        self.admission = admission
        self.seed = seed
        self._kind = _KINDS.index(admission.rule)
        self._is_open = self._kind == 0 or admission.threshold == 1
        self._counts = None if self._is_open else self._filter()

    def _filter(self) -> CountFilter:
        rule = self.admission
        return CountFilter(width=rule.width, splits=rule.splits, split_sightings=rule.split_sightings)

    def passes(self, key: int) -> bool:
        """Count a sighting of the id with this key; true if the id is admitted by it."""
        if self._counts is None:
            return True
        count = self._counts.sight(key)
        draw = uniform(np.uint64(key ^ (self.seed & 0xFFFFFFFF)), np.uint64(count))
        return bool(admits(self._kind, self.admission.threshold, count, draw))

    def snapshot(self) -> Frame:
        """The counters, if there are any."""
        return {} if self._counts is None else self._counts.snapshot()

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described; a frame of an open gate starts the counters afresh."""
        if self._counts is not None:
            self._counts = self._filter()
            if frame:
                self._counts.restore(frame)
