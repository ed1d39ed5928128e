"""Epsilon-greedy over items, whatever the context."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from msgspec import Meta

from bandits.arms import ArmCounts
from bandits.base import Context, Policy, Reach
from bandits.errors import PolicyError
from bandits.forgetting import Forgetting, ForgettingSettings
from bandits.ops.arrays import Int32
from bandits.plans import Rule
from learners.world import World

__all__ = ["EpsilonGreedy", "Settings", "build"]

SOURCE = "Sutton and Barto 2018, section 2.2"


class Settings(ForgettingSettings, frozen=True, forbid_unknown_fields=True):
    """How it chooses."""

    exploration: Annotated[float, Meta(ge=0, le=1)] = 0.1
    """Probability that any item is taken, with equal chances, instead of the best."""
    optimism: Annotated[float, Meta(ge=-1_000, le=1_000)] = 1.0
    """Reward that an item's mean starts with, as if from one impression."""


class EpsilonGreedy(ArmCounts, Policy):
    """The item with the best mean reward, ties at random; with probability `exploration` any candidate.

    In a slate "any" is every item that may be shown, also those that nobody offered (`bandits.slate`).

    The mean starts as one impression with reward `optimism`: (r + optimism) / (n + 1).

    Example:
        >>> policy = EpsilonGreedy(exploration=0.2)
        >>> nobody = Context(np.array([0], np.int32), np.ones(1, np.float32))
        >>> policy.probabilities(nobody, np.array([4, 7], np.int32)).tolist()
        [0.5, 0.5]
    """

    name = "epsilon_greedy"

    def __init__(
        self, *, exploration: float = 0.1, optimism: float = 1.0, forgetting: Forgetting | None = None
    ) -> None:
        if not 0 <= exploration <= 1 or not np.isfinite(optimism):
            msg = (
                "epsilon_greedy needs exploration in 0..1 and a finite optimism; "
                f"got exploration={exploration}, optimism={optimism}"
            )
            raise PolicyError(msg)
        super().__init__(forgetting)
        self.exploration = exploration
        self.optimism = optimism

    def reach(self, context: Context) -> Reach:
        """Every item that may be shown."""
        return Reach.EVERYTHING

    def plan(self, context: Context, candidates: Int32) -> Rule:
        """Smoothed means; a row below 0 is no item."""
        shown, reward = self.of(candidates)
        means = np.where(candidates >= 0, (reward + self.optimism) / (shown + 1.0), -np.inf)
        return Rule(means, np.ones(candidates.size), uniform=self.exploration)


def build(settings: Settings, world: World) -> EpsilonGreedy:
    """The policy, as the settings say."""
    policy = EpsilonGreedy(
        exploration=settings.exploration, optimism=settings.optimism, forgetting=settings.forgetting()
    )
    return policy.watched_by(settings, world)
