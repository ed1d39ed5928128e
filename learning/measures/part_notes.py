"""What the parts note of themselves: alarms and sizes."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np

from learners.part import Columns
from learners.world import World
from learning.measure import Figure, Measure

__all__ = ["PartNotes", "Settings", "build"]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing can be set."""


class PartNotes(Measure):
    """The newest of every note by part and name, as one number: that of an array is its sum. What is no
    finite number is left out. Partitions are added up.

    Example:
        >>> measure = PartNotes()
        >>> measure.read("lin_ucb", {"arms": np.array(3)})
        >>> measure.of("lin_ucb", "arms")
        {'value': 3.0}
    """

    labels, sums, most = ("part", "note"), ("value",), 256

    def read(self, part: str, notes: Columns) -> None:
        """Take over what changed."""
        for name, note in notes.items():
            value = float(np.sum(note, dtype=np.float64))
            if np.isfinite(value) and self.seen((part, name)) != [value]:
                self.at(part, name)[0] = value

    def figures(self) -> Iterator[Figure]:
        """All of them, as one family."""
        values = {labels: sums["value"] for labels, sums in self.by_labels().items()}
        yield Figure("part_note", "What a part notes of itself, of all partitions.", self.labels, values)


def build(settings: Settings, world: World) -> PartNotes:
    """The measure, empty."""
    return PartNotes()
