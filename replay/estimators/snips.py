"""Self-normalised inverse propensity scoring."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from learners.world import World
from replay.ops.weighting import snips_rounds
from replay.rounds import Rounds

__all__ = ["Settings", "Snips", "build"]

SOURCE = "Swaminathan and Joachims 2015, The Self-Normalized Estimator for Counterfactual Learning"

Float64 = npt.NDArray[np.float64]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing can be set."""


class Snips:
    """Self-normalised IPS: a ratio of means, biased by O(1/S), far less variable, bounded by the rewards
    seen.

    V_j = sum_s w_sj r_sj / sum_s w_sj at each place (Swaminathan and Joachims 2015); a constant added to all
    rewards moves the estimate by just that constant. Holds nothing.

    Example:
        >>> log = Rounds.single(target=[0.5, 0.5, 0.0], logged=[0.5, 0.25, 0.5], rewards=[1.0, 0.0, 1.0])
        >>> round(float(Snips().rounds(log).mean()), 4)
        0.3333
    """

    name = "snips"
    within_rewards = True

    def rounds(self, log: Rounds) -> Float64:
        """Linearised scores (S,), see `replay.ops.weighting.snips_rounds`."""
        return snips_rounds(log.weights(), log.rewards, log.start)


def build(settings: Settings, world: World) -> Snips:
    """The estimator; it holds nothing."""
    return Snips()
