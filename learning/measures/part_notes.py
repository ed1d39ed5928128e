"""What the parts note of themselves: alarms and sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec
import numpy as np

from learners.part import Columns
from learners.world import World
from learning.measure import Figure, Labels, Measure

__all__ = ["PartNotes", "Settings", "build"]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing can be set."""


class PartNotes(Measure):
    """The newest of every note by part and name, as one number: that of an array is its sum. What is no
    finite number is left out, and so are lists of items. Partitions are added up.

    Example:
        >>> measure = PartNotes()
        >>> measure.read({"lin_ucb": {"arms": np.array(3)}})
        >>> measure.of("lin_ucb", "arms")
        {'value': 3.0}
    """

    labels, sums, most = ("part", "note"), ("value",), 256

    def read(self, notes: Mapping[str, Columns]) -> None:
        """Take over all of them, if any has changed; what nobody notes any more goes."""
        found: dict[Labels, float] = {}
        for part, columns in notes.items():
            for name, note in columns.items():
                if "_items" in name:
                    continue
                value = float(np.sum(note, dtype=np.float64))
                if np.isfinite(value):
                    found[part, name] = value
        if found != {labels: sums[0] for labels, sums in self._sums.items()}:
            self.clear()
            for labels, value in found.items():
                self.at(*labels)[0] += value

    def figures(self) -> Iterator[Figure]:
        """All of them, as one family."""
        values = {labels: sums["value"] for labels, sums in self.by_labels().items()}
        yield Figure("part_note", "What a part notes of itself, of all partitions.", self.labels, values)


def build(settings: Settings, world: World) -> PartNotes:
    """The measure, empty."""
    return PartNotes()
