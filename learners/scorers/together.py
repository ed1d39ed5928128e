"""How well an item goes with the user's newest items."""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt

from learners.ask import Ask
from learners.parts.cooccurrence import CoOccurrence
from learners.world import World

__all__ = ["Settings", "Together", "build", "log_scores", "needs"]

Int32 = npt.NDArray[np.int32]
Float64 = npt.NDArray[np.float64]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be set."""

    items: Annotated[int, msgspec.Meta(ge=1)] = 10
    """The user's newest items that are looked at."""
    floor: Annotated[float, msgspec.Meta(gt=0)] = 0.01
    """Added to the score before the logarithm."""
    weight: float = 0.5
    """Starting weight."""


class Together:
    """log(score + floor) with the score of `CoOccurrence` for the user's newest items.

    Example:
        >>> scorer = Together(Settings(), CoOccurrence())
        >>> scorer.features(Ask(0, 5), np.array([3], np.int32)).astype(float).round(2).tolist()
        [[-4.61]]
    """

    names = ("together",)

    def __init__(self, settings: Settings, cooccurrence: CoOccurrence) -> None:
        self._settings, self._cooccurrence = settings, cooccurrence
        self.weights = (settings.weight,)

    def features(self, ask: Ask, rows: Int32) -> Float64:
        """See `learners.scorer.Scorer`."""
        s = self._settings
        return log_scores(self._cooccurrence, ask, rows, s.items, s.floor)[:, None]


def log_scores(cooccurrence: CoOccurrence, ask: Ask, rows: Int32, items: int, floor: float) -> Float64:
    """log(score + floor) (n,) of `rows`, worked out once for all scorers that look at the same items."""
    key = (cooccurrence, items, floor)
    found: tuple[Int32, Float64] | None = ask.known.get(key)
    if found is not None and found[0] is rows:
        return found[1]
    logs = cooccurrence.linked_to(ask, ask.newest(items)).score(rows) + floor
    np.log(logs, out=logs)
    ask.known[key] = rows, logs
    return logs


def needs(settings: Settings) -> tuple[str, ...]:  # noqa: ARG001
    """The parts that it reads."""
    return ("cooccurrence",)


def build(settings: Settings, world: World) -> Together:
    """Make it from the parts of this process."""
    return Together(settings, world.parts["cooccurrence"])
