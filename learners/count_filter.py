"""How often an unadmitted id was sighted lately, in fixed memory."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np

from learners.errors import LearnerError
from learners.ops.table import sight
from stream.frame import Frame

__all__ = ["CountFilter", "key_of"]


def key_of(name: str) -> int:
    """A 64-bit key of an id, the same on every machine.

    Example:
        >>> key_of("film-1") == key_of("film-1") != key_of("film-2")
        True
    """
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


class CountFilter:
    """A sliding window of count sketches with 16-bit counters, so that counts age.

    Sightings go into the head split; when it has taken `split_sightings` of them the oldest split is cleared
    and becomes the head (Monolith, arXiv 2209.07663, and its open code: at least five splits). Collisions can
    only make a count too high: an id may enter early, never late. Memory: `splits * 2 * width * 2` bytes, for
    good, whatever the stream holds.

    Example:
        >>> counts = CountFilter(width=64, split_sightings=10)
        >>> [counts.sight(key_of("a")) for _ in range(3)]
        [1, 2, 3]
        >>> counts.sight(key_of("b"))
        1
    """

    def __init__(self, *, width: int = 65_536, splits: int = 5, split_sightings: int = 32_768) -> None:
        if min(width, splits, split_sightings) < 1 or splits < 2:
            msg = (
                "a count filter needs width >= 1, splits >= 2, split_sightings >= 1; "
                f"got {width}, {splits}, {split_sightings}"
            )
            raise LearnerError(msg)
        self.width, self.splits, self.split_sightings = width, splits, split_sightings
        self._counts = np.zeros((splits, 2, width), np.uint16)
        self._head = 0
        self._taken = 0

    def sight(self, key: int) -> int:
        """Count a sighting of `key`; returns how many are remembered, this one included."""
        if self._taken >= self.split_sightings:
            self._head = (self._head + 1) % self.splits
            self._counts[self._head] = 0
            self._taken = 0
        self._taken += 1
        return int(sight(self._counts, self._head, np.uint64(key)))

    def snapshot(self) -> Frame:
        """All counters and where the window stands."""
        return {"counts": self._counts.copy(), "head": self._head, "taken": self._taken}

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described."""
        self._counts = np.array(frame["counts"], np.uint16)
        self.splits, _, self.width = self._counts.shape
        self._head, self._taken = frame["head"], frame["taken"]
