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
Float64 = npt.NDArray[np.float64]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be set."""

    items: Annotated[int, msgspec.Meta(ge=1)] = 10
    """The user's newest items that are looked at."""
    floor: Annotated[float, msgspec.Meta(gt=0)] = 0.01
    """Added to the score before the logarithm."""
    cap: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 50
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
        self._factors: list[float] = np.log1p(np.arange(settings.cap + 1)).tolist()

    def features(self, ask: Ask, rows: Int32) -> Float64:
        """See `learners.scorer.Scorer`."""
        s = self._settings
        logs = log_scores(self._cooccurrence, ask, rows, s.items, s.floor)
        return (logs * self._factors[min(ask.history.size, s.cap)])[:, None]


def needs(settings: Settings) -> tuple[str, ...]:  # noqa: ARG001
    """The parts that it reads."""
    return ("cooccurrence",)


def build(settings: Settings, world: World) -> TogetherByHistory:
    """Make it from the parts of this process."""
    return TogetherByHistory(settings, world.parts["cooccurrence"])
