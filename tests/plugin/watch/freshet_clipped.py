"""Inverse propensity scoring with weights cut at a limit."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import numpy as np

from freshet.plugin import Estimator, Rounds, World

__all__ = ["Clipped", "Settings", "build"]

SOURCE = "Ionides 2008, Truncated Importance Sampling"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where weights end."""

    most: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    """The largest weight of a place."""


class Clipped:
    """Biased towards 0 where the limit is met, and never far out."""

    name = "clipped"

    def __init__(self, most: float = 10.0) -> None:
        self.most = most

    def rounds(self, log: Rounds) -> Any:
        """min(w, most) r summed over each slate (S,)."""
        scores = np.minimum(log.weights(), self.most) * log.rewards
        return np.add.reduceat(scores, log.start[:-1]) if log.size else np.zeros(0)


def build(settings: Settings, world: World) -> Estimator:
    """The estimator, as the settings say."""
    return Clipped(settings.most)
