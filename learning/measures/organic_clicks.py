"""Clicks that no decision explains."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from learners.world import World
from learning.measure import Figure, Measure
from stream.blocks import ORGANIC, FeedbackBlock

__all__ = ["OrganicClicks", "Settings", "build"]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing can be set."""


class OrganicClicks(Measure):
    """The number of organic clicks; dislikes are none.

    Example:
        >>> measure = OrganicClicks()
        >>> measure.learn(FeedbackBlock([], [("u", "a")], [ORGANIC], [0], [-1], [1.0], [True], [5]))
        >>> measure.of()
        {'organic': 1.0}
    """

    sums = ("organic",)

    def learn(self, block: FeedbackBlock) -> None:
        """Count those of one block."""
        if ORGANIC in block.kind:
            rewards = [r for kind, r in zip(block.kind, block.reward, strict=True) if kind == ORGANIC]
            self.at()[0] += sum(r > 0 for r in rewards)

    def figures(self) -> Iterator[Figure]:
        """The one number, from the start."""
        yield Figure("organic_clicks", "Organic clicks learned.", (), {(): self.of()["organic"]}, True)


def build(settings: Settings, world: World) -> OrganicClicks:
    """The measure, empty."""
    return OrganicClicks()
