"""Whether the user was shown the item before, and clicked it."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from learners.ask import Ask
from learners.item_keys import keys_of_ask
from learners.parts.user_items import UserItems
from learners.world import World

__all__ = ["Seen", "Settings", "build", "needs"]

Int32 = npt.NDArray[np.int32]
Float32 = npt.NDArray[np.float32]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be set."""

    of: str = "user_items"
    """The learner whose lists it reads."""
    weight: float = 0.0
    """Starting weight of each."""


class Seen:
    """Of the items shown to the user or clicked by them lately: `seen_shown`, the log of 1 + how often it was
    shown; `seen_clicked`, that of 1 + how often they clicked it; `seen_since`, that of 1 + the seconds since
    either. An item that is not among them has 0, 0 and nothing (NaN).

    Example:
        >>> scorer = Seen(Settings(), UserItems())
        >>> scorer.features(Ask(0, 5), np.array([3], np.int32)).tolist()
        [[0.0, 0.0, nan]]
    """

    names = ("seen_shown", "seen_clicked", "seen_since")

    def __init__(self, settings: Settings, items: UserItems) -> None:
        self._items = items
        self.weights = (settings.weight,) * len(self.names)

    def features(self, ask: Ask, rows: Int32) -> Float32:
        """See `learners.scorer.Scorer`."""
        return self._items.features(ask.user, keys_of_ask(ask, rows, self._items.item_keys), ask.now_ms)


def needs(settings: Settings) -> dict[str, type]:
    """The parts that it reads, and what they must be."""
    return {settings.of: UserItems}


def build(settings: Settings, world: World) -> Seen:
    """Make it from the parts of this process."""
    return Seen(settings, world.parts[settings.of])
