"""The exploring policy's own candidates: those that the graph links to the user's clusters."""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt

from learners.ask import Ask
from learners.world import World
from serving.source import NO_ROWS, Role, Source

__all__ = ["PolicyOwn", "Settings", "build"]

Int32 = npt.NDArray[np.int32]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be set."""

    size: Annotated[int, msgspec.Meta(ge=0)] = 100
    """Items that it offers, at most; 0 switches it off."""


class PolicyOwn(Source):
    """Offers the ranker what the policy may choose from, the best of it if it is too much; nothing for a
    policy that lists none."""

    role: Role = "policy"

    def __init__(self, settings: Settings) -> None:
        self._size = settings.size

    def offer(self, ask: Ask) -> Int32:
        """The policy's own candidates, the best of them if there are too many."""
        return ask.best_own(self._size) if self._size else NO_ROWS


def build(settings: Settings, world: World) -> PolicyOwn:
    """Make it; it reads no part."""
    return PolicyOwn(settings)
