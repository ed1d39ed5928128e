"""The items nearest to the user's vector."""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt

from learners.ask import Ask
from learners.world import World
from serving.item_index import ItemIndex
from serving.source import NO_ROWS, Role, Source

__all__ = ["Nearest", "Settings", "build", "needs"]

Int32 = npt.NDArray[np.int32]

_FEW_BLOCKED = 48


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be set."""

    size: Annotated[int, msgspec.Meta(ge=0)] = 64
    """Items that it offers, at most; 0 switches it off."""


class Nearest(Source):
    """Searches the live index; offers nothing while nothing is known of the user's taste."""

    role: Role = "personal"

    def __init__(self, settings: Settings, index: ItemIndex) -> None:
        self._size, self._items = settings.size, index

    def offer(self, ask: Ask) -> Int32:
        """Nearest items to the user's vector."""
        index = self._items.index
        if ask.vector is None or index.size == 0 or self._size == 0:
            return NO_ROWS
        groups = None if ask.groups is None else ask.groups + np.int32(1)
        now_ms = ask.now_ms if self._items.n_timed else None
        # A few more answers cost less than a look at the mask for every row on the way.
        n_blocked = ask.blocked.size
        few = n_blocked <= _FEW_BLOCKED
        k = self._size + (n_blocked if few else 0)
        allowed = None if few else ask.allowed
        return index.search(ask.vector, k, groups=groups, now_ms=now_ms, allowed=allowed).rows


def needs(settings: Settings) -> tuple[str, ...]:
    """The parts that it reads."""
    return ("index",)


def build(settings: Settings, world: World) -> Nearest:
    """Make it from the parts of this worker."""
    return Nearest(settings, world.parts["index"])
