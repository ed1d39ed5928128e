"""First clicks by the place that the item had."""

from __future__ import annotations

from typing import Annotated

import msgspec

from freshet.plugin import CLICK, FeedbackBlock, Measure, World

__all__ = ["ClicksByPlace", "Settings", "build"]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far down is told apart."""

    places: Annotated[int, msgspec.Meta(ge=1, le=50)] = 10
    """Places with a number of their own; all below share the next."""


class ClicksByPlace(Measure):
    """Counts, from place 1; nothing else has to be written, also for Kafka."""

    labels, sums = ("place",), ("first_clicks",)

    def __init__(self, places: int) -> None:
        super().__init__()
        self.places = places

    def learn(self, block: FeedbackBlock) -> None:
        """Count those of one block."""
        columns = (block.kind, block.place, block.reward, block.first)
        for kind, place, reward, first in zip(*columns, strict=True):
            if kind == CLICK and first and reward > 0:
                self.at(str(min(place, self.places) + 1))[0] += 1


def build(settings: Settings, world: World) -> ClicksByPlace:
    """The measure, empty."""
    return ClicksByPlace(settings.places)
