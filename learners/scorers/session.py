"""How an item stands to what the user has touched since they came."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from learners.ask import Ask
from learners.item_keys import keys_of_ask
from learners.parts.session import Session
from learners.world import World

__all__ = ["InSession", "Settings", "build", "needs"]

Int32 = npt.NDArray[np.int32]
Float32 = npt.NDArray[np.float32]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be set."""

    of: str = "session"
    """The learner whose sessions it reads."""
    weight: float = 0.0
    """Starting weight of each."""


class InSession:
    """Of the items that the user touched in this session, by clicks of any kind but dislikes:

    * `session_last`: 1 for the one touched last;
    * `session_touches`, `session_clicks`: logs of 1 + how often it was touched, and clicked for a reward;
    * in a list of somebody else that has the item touched last: `session_below`, 1 for the place just below
      it, `session_above`, 1 for all above it, and `session_near`, minus the log of 1 + the distance. Nothing
      (NaN) elsewhere.

    Example:
        >>> scorer = InSession(Settings(), Session())
        >>> scorer.features(Ask(0, 5), np.array([3], np.int32)).tolist()
        [[0.0, 0.0, 0.0, nan, nan, nan]]
    """

    names = (
        "session_last", "session_touches", "session_clicks", "session_below", "session_above",
        "session_near",
    )  # fmt: skip

    def __init__(self, settings: Settings, session: Session) -> None:
        self._session = session
        self.weights = (settings.weight,) * len(self.names)

    def features(self, ask: Ask, rows: Int32) -> Float32:
        """See `learners.scorer.Scorer`."""
        keys = keys_of_ask(ask, rows, self._session.item_keys)
        is_list = ask.listed is not None and rows is ask.listed.rows
        return self._session.features(ask.user, keys, ask.now_ms, is_list=is_list)


def needs(settings: Settings) -> dict[str, type]:
    """The parts that it reads, and what they must be."""
    return {settings.of: Session}


def build(settings: Settings, world: World) -> InSession:
    """Make it from the parts of this process."""
    return InSession(settings, world.parts[settings.of])
