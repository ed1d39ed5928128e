"""Alarms of the policies' detectors of drift: how many, and which items gave the last ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from learners.part import Columns
from learners.world import World
from learning.measure import Figure, Labels, Measure

__all__ = ["DriftAlarms", "Settings", "build"]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing can be set."""


class DriftAlarms(Measure):
    """Alarms by policy, and alarms and time of the items that gave the last ones, 32 a policy and partition.

    Example:
        >>> import numpy as np
        >>> notes = {"drift_alarms": np.array(3), "drifted_items": np.array(["tea"])}
        >>> notes |= {"drifted_items_alarms": np.array([2]), "drifted_items_ms": np.array([5])}
        >>> measure = DriftAlarms()
        >>> measure.read({"thompson": notes})
        >>> measure.of("thompson", "")["alarms"], measure.of("thompson", "tea")
        (3.0, {'alarms': 2.0, 'last_ms': 5.0})
    """

    labels, sums, most = ("policy", "item"), ("alarms", "last_ms"), 512

    def read(self, notes: Mapping[str, Columns]) -> None:
        """Take over all of them, if any has changed. An item has one owner, so that partitions, which are
        added up, add nothing to its time."""
        found: dict[Labels, list[float]] = {}
        for part, columns in notes.items():
            if "drift_alarms" not in columns:
                continue
            found[part, ""] = [float(columns["drift_alarms"]), 0.0]
            told = (columns[f"drifted_items{of}"].tolist() for of in ("", "_alarms", "_ms"))
            for item, n, last_ms in zip(*told, strict=True):
                if item:  # else it is gone
                    found[part, item] = [float(n), float(last_ms)]
        if found != self._sums:
            self.clear()
            for labels, sums in found.items():
                self.at(*labels)[:] = sums

    def figures(self) -> Iterator[Figure]:
        """Alarms by policy, and when items gave their last ones."""
        held = self.by_labels()
        alarms: dict[Labels, float] = {
            (policy,): sums["alarms"] for (policy, item), sums in held.items() if not item
        }
        yield Figure("drift_alarms", "Items learned afresh after an alarm.", ("policy",), alarms, True)
        last = {labels: sums["last_ms"] / 1_000 for labels, sums in held.items() if labels[1]}
        if last:
            what = "When an item gave its last alarm, in seconds since 1970."
            yield Figure("drifted_at_seconds", what, self.labels, last)


def build(settings: Settings, world: World) -> DriftAlarms:
    """The measure, empty."""
    return DriftAlarms()
