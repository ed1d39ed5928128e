"""How well an item fits the user: by what it is, until clicks have said more."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from learners.ask import Ask
from learners.parts.content_map import ContentMap
from learners.world import World

__all__ = ["Hybrid", "Settings", "build", "needs"]

Int32 = npt.NDArray[np.int32]
Float32 = npt.NDArray[np.float32]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be set."""

    of: str = "content_map"
    """The learner whose map it reads."""
    weight: float = 8.0
    """Starting weight of how near the item is."""
    new_weight: float = 4.0
    """Starting weight of content's share: what an item gets for being new, whose popularity says nothing."""


class Hybrid:
    """How near the user's vector is to the item's factor, in which content has a share until the item has
    feedback; and that share, which tells the ranker how new the item is. Both are 0 for an unknown item, and
    the first for a user of whom nothing is known. Without content the first is the cosine with the factor.

    The weights are those that earned most on planted worlds (`benchmarks/quality/content.py`, other seeds).

    Example:
        >>> from learners import Catalogue, EmbeddingTable
        >>> scorer = Hybrid(Settings(), ContentMap(EmbeddingTable(2), Catalogue()))
        >>> scorer.names, scorer.features(Ask(-1, 5), np.array([3], np.int32)).tolist()
        (('hybrid', 'hybrid_new'), [[0.0, 0.0]])
    """

    names = ("hybrid", "hybrid_new")

    def __init__(self, settings: Settings, content: ContentMap) -> None:
        self._content = content
        self.weights = (settings.weight, settings.new_weight)

    def features(self, ask: Ask, rows: Int32) -> Float32:
        """See `learners.scorer.Scorer`."""
        return self._content.blended(ask.vector, rows)


def needs(settings: Settings) -> dict[str, type]:
    """The parts that it reads, and what they must be."""
    return {settings.of: ContentMap}


def build(settings: Settings, world: World) -> Hybrid:
    """Make it from the parts of this process."""
    return Hybrid(settings, world.parts[settings.of])
