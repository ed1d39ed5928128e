"""What an estimator is; kinds are the modules of `replay.estimators`."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from replay.rounds import Rounds

__all__ = ["Estimator"]

Float64 = npt.NDArray[np.float64]


class Estimator(Protocol):
    """One number a round; their mean estimates the target's reward a round.

    An estimator whose mean never leaves the range of the rewards may say so by ``within_rewards = True``: its
    intervals are then narrower where rewards are common.
    """

    name: str

    def rounds(self, log: Rounds) -> Float64:
        """Scores (S,) apart from the mean, whose spread gives the interval."""
