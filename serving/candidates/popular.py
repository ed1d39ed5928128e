"""What is clicked now."""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt

from learners import Popularity
from learners.ask import Ask
from learners.world import World
from serving.source import NO_ROWS, Source

__all__ = ["MostClicked", "Settings", "build", "needs"]

Int32 = npt.NDArray[np.int32]

_STEP = 32


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be set."""

    size: Annotated[int, msgspec.Meta(ge=0)] = 60
    """Items that it offers, at least if there are so many; 0 switches it off."""
    half_life_ms: Annotated[int, msgspec.Meta(ge=1)] = 86_400_000
    """Of the popularity's half-lives the one nearest to this is looked at."""
    of: str = "popularity"
    """The learner whose counts it reads."""


class MostClicked(Source):
    """The most popular items; it looks deeper for users who have seen much of it."""

    def __init__(self, settings: Settings, popularity: Popularity) -> None:
        self._size, self._popularity = settings.size, popularity
        self._half_life = popularity.nearest_half_life(settings.half_life_ms)
        self._lists: dict[int, Int32] = {}

    def refresh(self) -> None:
        """Something was clicked: forget the lists."""
        self._lists.clear()

    def offer(self, ask: Ask) -> Int32:
        """What is clicked now, most first."""
        if self._size == 0:
            return NO_ROWS
        n = max(self._size, ask.k) + ask.blocked.size
        if ask.groups is not None:
            n = max(n, self._popularity.pool)
        # Rounded up, so that a handful of lists serves everybody until the next commit.
        n = -(-n // _STEP) * _STEP
        found = self._lists.get(n)
        if found is None:
            found = self._lists[n] = self._popularity.top(n, self._half_life)
        return found


def needs(settings: Settings) -> dict[str, type]:
    """The parts that it reads, and what they must be."""
    return {settings.of: Popularity}


def build(settings: Settings, world: World) -> MostClicked:
    """Make it from the parts of this worker."""
    return MostClicked(settings, world.parts[settings.of])
