"""Inverse propensity scoring with weights that end at a limit."""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt

from learners.world import World
from replay.ops.weighting import ips_rounds
from replay.rounds import Rounds

__all__ = ["CappedIps", "Settings", "build"]

SOURCE = "Ionides 2008, Truncated Importance Sampling, doi 10.1198/106186008X320456"

Float64 = npt.NDArray[np.float64]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where weights end."""

    most: Annotated[float, msgspec.Meta(ge=1)] | None = None
    """The largest weight of a place; the square root of the number of rounds where it is not set."""


class CappedIps:
    """Truncated IPS: V = 1/S sum_s sum_j min(w_sj, most) r_sj.

    Too low by what is cut off and far less variable; with the limit sqrt(S) the error still goes to 0 as the
    log grows. Beside IPS it says how much of an estimate rests on few heavy rounds. Holds nothing.

    Example:
        >>> log = Rounds.single(target=[1.0, 1.0], logged=[0.01, 1.0], rewards=[1.0, 1.0])
        >>> CappedIps(most=20.0).rounds(log).tolist()
        [20.0, 1.0]
    """

    name = "capped_ips"

    def __init__(self, most: float | None = None) -> None:
        self._most = most

    def rounds(self, log: Rounds) -> Float64:
        """min(w, most) r summed over each slate (S,)."""
        most = np.sqrt(log.size) if self._most is None else self._most
        return ips_rounds(np.minimum(log.weights(), most), log.rewards, log.start)


def build(settings: Settings, world: World) -> CappedIps:
    """The estimator, as the settings say."""
    return CappedIps(settings.most)
