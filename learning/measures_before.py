"""Measures as programs of before kept them: one state with counts by policy and the organic clicks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec

from learners.part import Columns
from learning.measure import Measure
from learning.measures.organic_clicks import OrganicClicks
from learning.measures.policy_counts import PolicyCounts
from stream.frame import Frame

__all__ = ["MeasuresBefore", "columns_before"]

_Figure = (
    Annotated[int, msgspec.Meta(ge=-(2**62), le=2**62)] | Annotated[float, msgspec.Meta(ge=-1e300, le=1e300)]
)


class _Before(msgspec.Struct):
    """The counts of one learner or partition."""

    organic: Annotated[int, msgspec.Meta(ge=0, le=2**62)]
    policies: dict[str, dict[str, _Figure]]


def columns_before(state: Frame) -> dict[str, Columns]:
    """What the measures of now would export, by their names.

    Raises:
        ValidationError: the state has another form.

    Example:
        >>> found = columns_before({"organic": 2, "policies": {"p": {"shown": 3, "reward": -1.5}}})
        >>> {name: columns["lost"].tolist() for name, columns in found.items() if "lost" in columns}
        {'policy_counts': [1.5]}
    """
    before = msgspec.convert(state, _Before)
    organic, policies = OrganicClicks(), PolicyCounts()
    organic.at()[0] = float(before.organic)
    for name, counts in before.policies.items():
        # Programs before those did not have all counts; what reward there was is one of its halves.
        reward = counts.get("reward", 0)
        known = {"gained": max(reward, 0.0), "lost": max(-reward, 0.0), **counts}
        policies.at(name)[:] = [float(known.get(count, 0)) for count in policies.sums]
    made: dict[str, Measure] = {"organic_clicks": organic, "policy_counts": policies}
    return {name: measure.export("shared", measure.touched("shared")) for name, measure in made.items()}


class MeasuresBefore:
    """A part of that name in frames and snapshots, which hands what it finds there to the measures of now.

    Args:
        measures: by name; those that are not among them lose their counts.

    Example:
        >>> measures = {"policy_counts": PolicyCounts()}
        >>> MeasuresBefore(measures).apply({"organic": 0, "policies": {"p": {"shown": 3}}})
        >>> measures["policy_counts"].of("p")["shown"]
        3.0
    """

    def __init__(self, measures: Mapping[str, Measure]) -> None:
        self._measures = measures

    def changes(self) -> Frame:
        """Nothing: nobody writes it any more."""
        return {}

    def apply(self, frame: Frame) -> None:
        """Take over counts that an older program committed."""
        self.restore(frame)

    def snapshot(self) -> Frame:
        """Nothing, as `changes`."""
        return {}

    def restore(self, frame: Frame) -> None:
        """Take over counts of an older program; empty ones are of now."""
        if frame:
            for name, columns in columns_before(frame).items():
                if name in self._measures:
                    self._measures[name].restore(columns)
