"""Choosing at random: the honest baseline."""

from __future__ import annotations

import msgspec
import numpy as np

from bandits.base import Context, Policy, Reach
from bandits.ops.arrays import Int32
from bandits.plans import Rule
from learners.rows import RowBlock
from learners.world import World
from stream.frame import Frame

__all__ = ["Settings", "Uniform", "build"]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """It has none of its own."""


class Uniform(Policy):
    """Every candidate with the same probability; learns nothing and holds nothing.

    In a slate that is every item that may be shown, also those that nobody offered (`bandits.slate`).

    Example:
        >>> nobody = Context(np.array([0], np.int32), np.ones(1, np.float32))
        >>> Uniform().probabilities(nobody, np.array([4, 7], np.int32)).tolist()
        [0.5, 0.5]
    """

    name = "uniform"

    def reach(self, context: Context) -> Reach:
        """Every item that may be shown."""
        return Reach.EVERYTHING

    def plan(self, context: Context, candidates: Int32) -> Rule:
        """Equal scores; a row below 0 is no item."""
        scores = np.where(candidates >= 0, 0.0, -np.inf)
        return Rule(scores, np.ones(candidates.size), uniform=1.0)

    def learn(self, rows: RowBlock) -> Int32:
        """Nothing to learn."""
        return np.zeros(0, np.int32)

    def remove_items(self, rows: Int32) -> None:
        """Nothing is held."""

    def snapshot(self) -> Frame:
        """An empty frame."""
        return {}

    def restore(self, frame: Frame) -> None:
        """Nothing is held."""


def build(settings: Settings, world: World) -> Uniform:
    """The policy, as the settings say."""
    return Uniform()
