"""The newest items of the catalogue, and all others where too few candidates were found."""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt

from learners import Catalogue, Popularity
from learners.ask import Ask
from learners.world import World
from serving.item_index import ItemIndex
from serving.source import Source

__all__ = ["Newest", "Settings", "build", "needs"]

Int32 = npt.NDArray[np.int32]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be set."""

    size: Annotated[int, msgspec.Meta(ge=0)] = 20
    """Items that it offers, at most, unless there are too few others."""
    half_life_ms: Annotated[int, msgspec.Meta(ge=1)] = 86_400_000
    """By which the whole catalogue is ordered: of the popularity's half-lives the one nearest to this."""


class Newest(Source):
    """The items that entered last."""

    def __init__(
        self, settings: Settings, index: ItemIndex, catalogue: Catalogue, popularity: Popularity
    ) -> None:
        self._size, self._index, self._catalogue = settings.size, index, catalogue
        self._popularity = popularity
        self._half_life = popularity.nearest_half_life(settings.half_life_ms)

    def offer(self, ask: Ask) -> Int32:
        """The newest items, newest first."""
        return self._index.newest[: self._size]

    def exhaust(self, ask: Ask, offered: Int32) -> Int32:
        """The whole catalogue, popular first, then newest."""
        rows = self._catalogue.newest_first()
        return np.concatenate([self._popularity.top(rows.size, self._half_life), rows])


def needs(settings: Settings) -> tuple[str, ...]:
    """The parts that it reads."""
    return ("index", "catalogue", "popularity")


def build(settings: Settings, world: World) -> Newest:
    """Make it from the parts of this worker."""
    return Newest(settings, *(world.parts[name] for name in needs(settings)))
