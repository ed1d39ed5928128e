"""Inverse propensity scoring."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from learners.world import World
from replay.ops.weighting import ips_rounds
from replay.rounds import Rounds

__all__ = ["Ips", "Settings", "build"]

SOURCE = "Horvitz and Thompson 1952; Dudík, Langford, Li 2011, arXiv 1103.4601"

Float64 = npt.NDArray[np.float64]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing can be set."""


class Ips:
    """Inverse propensity scoring: unbiased where the log supports the target, with unbounded variance.

    V = 1/S sum_s sum_j w_sj r_sj, w_sj = prod over l <= j of q_sl / p_sl (Horvitz and Thompson 1952; Dudík,
    Langford, Li 2011; per-decision weights in slates as McInerney et al. 2020). Holds nothing.

    Example:
        >>> log = Rounds.single(target=[1.0, 0.0], logged=[0.5, 0.5], rewards=[1.0, 1.0])
        >>> Ips().rounds(log).tolist()
        [2.0, 0.0]
    """

    name = "ips"

    def rounds(self, log: Rounds) -> Float64:
        """w r summed over each slate (S,)."""
        return ips_rounds(log.weights(), log.rewards, log.start)


def build(settings: Settings, world: World) -> Ips:
    """The estimator; it holds nothing."""
    return Ips()
