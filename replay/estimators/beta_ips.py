"""Inverse propensity scoring with the baseline that makes its variance least."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from learners.world import World
from replay.ops.weighting import beta_ips_rounds
from replay.rounds import Rounds

__all__ = ["BetaIps", "Settings", "build"]

SOURCE = "Gupta, Jeunen, Oosterhuis, de Rijke 2024, arXiv 2405.05736"

Float64 = npt.NDArray[np.float64]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing can be set."""


class BetaIps:
    """Beta-IPS: as IPS, with a constant taken off the rewards before they are weighted, and added again.

    V_j = beta_j + 1/S sum_s w_sj (r_sj - beta_j) at each place. Weights average 1 where the log supports the
    target, so any constant leaves the mean as it is; the best one, taken from the log, leaves the least
    spread. SNIPS amounts to beta = V, so for many rounds this is never the wider one. Bias O(1/S). Holds
    nothing.

    Example:
        >>> log = Rounds.single(target=[0.9, 0.1, 0.9], logged=[0.5, 0.5, 0.5], rewards=[1.0, 1.0, 1.0])
        >>> BetaIps().rounds(log).round(9).tolist()
        [1.0, 1.0, 1.0]
    """

    name = "beta_ips"

    def rounds(self, log: Rounds) -> Float64:
        """w r - beta (w - 1) summed over each slate (S,)."""
        return beta_ips_rounds(log.weights(), log.rewards, log.start)


def build(settings: Settings, world: World) -> BetaIps:
    """The estimator; it holds nothing."""
    return BetaIps()
