"""Boltzmann exploration: a softmax over mean rewards."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import numpy as np

from freshet.plugin import ArmCounts, Context, Policy, Rule, World

__all__ = ["Boltzmann", "Settings", "build"]

SOURCE = "Cesa-Bianchi et al. 2017, arXiv 1705.10257"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How evenly it chooses."""

    temperature: Annotated[float, msgspec.Meta(gt=0, le=1_000)] = 0.1
    """Reward by which an item must be better to be chosen e times as often."""


class Boltzmann(ArmCounts, Policy):
    """Each candidate with a probability proportional to exp(mean reward / temperature)."""

    name = "boltzmann"

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        self.temperature = temperature

    def plan(self, context: Context, candidates: Any) -> Rule:
        """Means as scores; all candidates share."""
        shown, reward = self.of(candidates)
        means = np.where(candidates >= 0, reward / np.maximum(shown, 1), -np.inf)
        return Rule(means, np.ones(candidates.size), max(candidates.size, 1), self.temperature)


def build(settings: Settings, world: World) -> Boltzmann:
    """The policy, as the settings say."""
    return Boltzmann(settings.temperature)
