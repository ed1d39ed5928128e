"""What goes together with the user's recent items."""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt

from learners import CoOccurrence
from learners.ask import Ask
from learners.world import World
from serving.source import Role, Source

__all__ = ["Neighbours", "Settings", "build", "needs"]

Int32 = npt.NDArray[np.int32]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be set."""

    size: Annotated[int, msgspec.Meta(ge=0)] = 60
    """Items that it offers, at most; 0 switches it off."""
    recent: Annotated[int, msgspec.Meta(ge=0)] = 10
    """Recent items whose neighbours are looked up."""


class Neighbours(Source):
    """Looks at the item on the page first, then at the newest of the history."""

    role: Role = "personal"

    def __init__(self, settings: Settings, cooccurrence: CoOccurrence) -> None:
        self._settings, self._cooccurrence = settings, cooccurrence

    def offer(self, ask: Ask) -> Int32:
        """What goes together with recent items, the closest first."""
        recent = ask.newest(self._settings.recent)
        if ask.viewed.size:
            recent = np.concatenate([ask.viewed, recent])
        return self._cooccurrence.linked_to(ask, recent).best(self._settings.size)[0]


def needs(settings: Settings) -> tuple[str, ...]:
    """The parts that it reads."""
    return ("cooccurrence",)


def build(settings: Settings, world: World) -> Neighbours:
    """Make it from the parts of this worker."""
    return Neighbours(settings, world.parts["cooccurrence"])
