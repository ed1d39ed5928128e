"""Epsilon-greedy over items, whatever the context."""

from __future__ import annotations

import numpy as np

from bandits.arms import ArmCounts
from bandits.base import Context, Rule, RulePolicy
from bandits.errors import PolicyError
from bandits.ops.arrays import Int32

__all__ = ["EpsilonGreedy"]


class EpsilonGreedy(ArmCounts, RulePolicy):
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
    reaches_all = True

    def __init__(self, *, exploration: float = 0.1, optimism: float = 1.0) -> None:
        if not 0 <= exploration <= 1 or not np.isfinite(optimism):
            msg = (
                "epsilon_greedy needs exploration in 0..1 and a finite optimism; "
                f"got exploration={exploration}, optimism={optimism}"
            )
            raise PolicyError(msg)
        super().__init__()
        self.exploration = exploration
        self.optimism = optimism

    def plan(self, context: Context, candidates: Int32) -> Rule:
        """Smoothed means; a row below 0 is no item."""
        shown, reward = self.of(candidates)
        means = np.where(candidates >= 0, (reward + self.optimism) / (shown + 1.0), -np.inf)
        return Rule(means, np.ones(candidates.size), uniform=self.exploration)
