"""Shown items, first clicks and reward by their place in a decided slate: what a place is worth."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec

from learners.world import World
from learning.measure import Figure, Measure
from stream.blocks import CLOSED, ORGANIC, SHOWN, FeedbackBlock

__all__ = ["PlaceCounts", "Settings", "build"]

_SHOWN, _CLICKS, _REWARD = range(3)


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far down places are told apart."""

    places: Annotated[int, msgspec.Meta(ge=1, le=50)] = 20
    """Places that are counted, from 1 at the top; those below are left out."""


class PlaceCounts(Measure):
    """Counts by place: how often something was shown there, first clicks (no dislikes) and reward.

    Items higher up are clicked more because they are seen more, not because they are better; how much more
    is what these say, where the policy shuffles enough. Holds three numbers a place.

    Example:
        >>> from stream.blocks import Slate
        >>> slate = Slate(request_id="r", user_id="u", ts=0, items=["a", "b"], decided=True, policy="p")
        >>> columns = dict(kind=[SHOWN], ref=[0], place=[-1], reward=[0.0], first=[False], ts=[0])
        >>> measure = PlaceCounts()
        >>> measure.learn(FeedbackBlock(slates=[slate], **columns))
        >>> [(labels, sums["shown"]) for labels, sums in measure.by_labels().items()]
        [(('1',), 1.0), (('2',), 1.0)]
    """

    labels, sums = ("place",), ("shown", "clicks", "reward")

    def __init__(self, places: int = 20) -> None:
        super().__init__()
        self._places = places

    def learn(self, block: FeedbackBlock) -> None:
        """Count the operations of one block."""
        columns = (block.kind, block.ref, block.place, block.reward, block.first)
        for kind, ref, place, reward, first in zip(*columns, strict=True):
            if kind in (ORGANIC, CLOSED) or not block.slates[ref].decided:
                continue
            if kind == SHOWN:
                for at in range(min(len(block.slates[ref].items), self._places)):
                    self.at(str(at + 1))[_SHOWN] += 1
            elif place < self._places:
                counts = self.at(str(place + 1))
                counts[_CLICKS] += first and reward > 0
                counts[_REWARD] += reward

    def figures(self) -> Iterator[Figure]:
        """The counts, and clicks by shown item; a place where nothing was shown has no rate."""
        found = self.by_labels()
        for name in self.sums:
            values = {labels: counts[name] for labels, counts in found.items()}
            what = f"Learned of each place of decided slates: {name}."
            yield Figure(f"place_{name}", what, self.labels, values, name != "reward")
        rates = {at: counts["clicks"] / counts["shown"] for at, counts in found.items() if counts["shown"]}
        yield Figure("place_click_rate", "clicks / shown by place.", self.labels, rates)


def build(settings: Settings, world: World) -> PlaceCounts:
    """The measure, empty."""
    return PlaceCounts(settings.places)
