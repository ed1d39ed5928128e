"""How much an item is clicked now, at each half-life."""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt

from learners.ask import Ask
from learners.parts.popularity import Popularity
from learners.world import World

__all__ = ["Popular", "Settings", "build", "needs"]

Int32 = npt.NDArray[np.int32]
Float64 = npt.NDArray[np.float64]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be set."""

    of: str = "popularity"
    """The learner whose counts it reads."""
    floor: Annotated[float, msgspec.Meta(gt=0)] = 0.5
    """Added to the fading count before the logarithm."""
    weight: float = 1.0
    """Starting weight of the first half-life."""
    later_weight: float = 0.1
    """Starting weight of each further half-life."""


class Popular:
    """log(count + floor) for each half-life; a negative count lies as far below log(floor) as its size lies
    above.

    Example:
        >>> scorer = Popular(Settings(), Popularity(half_lives_ms=(10, 20)))
        >>> scorer.names, scorer.features(Ask(0, 5), np.array([3], np.int32)).astype(float).round(2).tolist()
        (('popular_0', 'popular_1'), [[-0.69, -0.69]])
    """

    def __init__(self, settings: Settings, popularity: Popularity) -> None:
        self._settings, self._popularity = settings, popularity
        n = len(popularity.half_lives_ms)
        self.names = tuple(f"popular_{h}" for h in range(n))
        self.weights = (settings.weight, *[settings.later_weight] * (n - 1))

    def features(self, ask: Ask, rows: Int32) -> Float64:
        """See `learners.scorer.Scorer`."""
        floor, counts = self._settings.floor, self._popularity.all_scores(ask.now_ms, rows)
        is_disliked = counts < 0.0
        has_disliked = bool(is_disliked.any())
        logs = np.abs(counts) + floor if has_disliked else counts + floor
        np.log(logs, out=logs)
        if has_disliked:
            logs[is_disliked] = 2.0 * np.log(floor) - logs[is_disliked]
        return logs.T


def needs(settings: Settings) -> dict[str, type]:
    """The parts that it reads, and what they must be."""
    return {settings.of: Popularity}


def build(settings: Settings, world: World) -> Popular:
    """Make it from the parts of this process."""
    return Popular(settings, world.parts[settings.of])
