"""How well an item goes with the user's newest items, times the length of the history: a longer one says
more."""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt

from learners.ask import Ask
from learners.parts.cooccurrence import CoOccurrence
from learners.scorers.together import log_scores
from learners.world import World

__all__ = ["Settings", "TogetherByHistory", "build", "needs"]

Int32 = npt.NDArray[np.int32]
Float32 = npt.NDArray[np.float32]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be set."""

    items: Annotated[int, msgspec.Meta(ge=1)] = 10
    """The user's newest items that are looked at."""
    floor: Annotated[float, msgspec.Meta(gt=0)] = 0.01
    """Added to the score before the logarithm."""
    cap: Annotated[int, msgspec.Meta(ge=1)] = 50
    """A longer history counts as one of so many items."""
    weight: float = 0.4
    """Starting weight."""


class TogetherByHistory:
    """f log(1 + n), with f the feature `together` and n the items of the history, at most `cap`.

    Example:
        >>> scorer = TogetherByHistory(Settings(), CoOccurrence())
        >>> ask = Ask(0, 5, history=np.array([1, 2], np.int32))
        >>> scorer.features(ask, np.array([3], np.int32)).astype(float).round(2).tolist()
        [[-5.06]]
    """

    names = ("together_by_history",)

    def __init__(self, settings: Settings, cooccurrence: CoOccurrence) -> None:
        self._settings, self._cooccurrence = settings, cooccurrence
        self.weights = (settings.weight,)

    def features(self, ask: Ask, rows: Int32) -> Float32:
        """See `learners.scorer.Scorer`."""
        s = self._settings
        longer = float(np.log1p(min(ask.history.size, s.cap)))
        logs = log_scores(self._cooccurrence, ask, rows, s.items, s.floor)
        return (logs * longer).astype(np.float32)[:, None]


def needs(settings: Settings) -> tuple[str, ...]:  # noqa: ARG001
    """The parts that it reads."""
    return ("cooccurrence",)


def build(settings: Settings, world: World) -> TogetherByHistory:
    """Make it from the parts of this process."""
    return TogetherByHistory(settings, world.parts["cooccurrence"])
