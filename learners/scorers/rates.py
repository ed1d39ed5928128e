"""How an item fares: click rates, clicks and trends on several time scales, how often and how long it was
shown."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from learners.ask import Ask
from learners.parts.item_rates import ItemRates
from learners.world import World

__all__ = ["Rates", "Settings", "build", "needs"]

Int32 = npt.NDArray[np.int32]
Float32 = npt.NDArray[np.float32]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be set."""

    of: str = "item_rates"
    """The learner whose counts it reads."""
    weight: float = 0.0
    """Starting weight of each."""


class Rates:
    """Logarithms of what `item_rates` counts of an item:

    * `rate_1h`, `rate_6h`, `rate_1d`, `rate_4d`, `rate_16d`: clicks by impressions at that half-life, with
      ten impressions at the overall rate added; a dislike counts as those that one click makes up for;
    * `clicks_1h`, `clicks_6h`, `clicks_16d`: fading clicks + 0.5 (`popular` has those of other half-lives);
    * `trend_1h`, `trend_1d`: fading clicks against what a longer half-life (a day, 16 days) has for as long;
    * `item_signals`: fading clicks of kinds of weight 0, a day's half-life, + 0.5;
    * `item_shown`, `item_age`: impressions + 1, hours since the item was first met + 1;
    * `item_new`: 1 for an item that nobody has met, whose `item_age` is missing (NaN).

    Example:
        >>> scorer = Rates(Settings(), ItemRates())
        >>> found = scorer.features(Ask(0, 5), np.array([3], np.int32))
        >>> dict(zip(scorer.names, found[0].round(2).tolist()))["rate_1d"], found.shape
        (-3.0, (1, 14))
    """

    names = (
        "rate_1h", "rate_6h", "rate_1d", "rate_4d", "rate_16d", "clicks_1h", "clicks_6h", "clicks_16d",
        "trend_1h", "trend_1d", "item_signals", "item_shown", "item_age", "item_new",
    )  # fmt: skip

    def __init__(self, settings: Settings, rates: ItemRates) -> None:
        self._rates = rates
        self.weights = (settings.weight,) * len(self.names)

    def features(self, ask: Ask, rows: Int32) -> Float32:
        """See `learners.scorer.Scorer`."""
        return self._rates.features(ask.now_ms, rows)


def needs(settings: Settings) -> dict[str, type]:
    """The parts that it reads, and what they must be."""
    return {settings.of: ItemRates}


def build(settings: Settings, world: World) -> Rates:
    """Make it from the parts of this process."""
    return Rates(settings, world.parts[settings.of])
