"""Thompson sampling with a Beta belief about each item's reward, whatever the context."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from msgspec import Meta

from bandits.arms import ArmCounts
from bandits.base import Context, Policy
from bandits.errors import PolicyError
from bandits.forgetting import Forgetting, ForgettingSettings
from bandits.ops.arrays import Float64, Int32
from bandits.plans import Beliefs
from learners.rows import RowBlock
from learners.world import World

__all__ = ["BetaThompson", "Settings", "build"]

SOURCE = "Chapelle and Li 2011, Algorithm 2"


class Settings(ForgettingSettings, frozen=True, forbid_unknown_fields=True):
    """What it believes before the first impression."""

    prior_reward: Annotated[float, Meta(ge=1, le=1_000_000)] = 1.0
    """Impressions with a reward that each item starts with."""
    prior_none: Annotated[float, Meta(ge=1, le=1_000_000)] = 1.0
    """Impressions without a reward that each item starts with."""


class BetaThompson(ArmCounts, Policy):
    """Take each candidate with the probability that it is the best, believing Beta(prior + r, prior + n - r).

    The belief lives on n impressions and their rewards r in `immediate` mode: an impression counts as a
    failure at once and a reward moves it over when it comes. A reward counts in 0..1: of each impression
    what lies in 0..`cap`, divided by `cap`, so that one large reward is one success, and a dislike one
    impression without. In a slate each place of the policy is a draw of its own (in-slate Thompson sampling).

    The probabilities are an integral (`bandits.ops.beliefs`), good to 1e-6 at every place of a slate, and the
    draw is made from those very numbers, so that what is logged is what it was drawn with.

    Example:
        >>> policy = BetaThompson()
        >>> nobody = Context(np.array([0], np.int32), np.ones(1, np.float32))
        >>> policy.probabilities(nobody, np.array([4, 7], np.int32)).round(6).tolist()
        [0.5, 0.5]
    """

    name = "thompson"

    def __init__(
        self,
        *,
        prior_reward: float = 1.0,
        prior_none: float = 1.0,
        cap: float = 1.0,
        forgetting: Forgetting | None = None,
    ) -> None:
        if not (prior_reward >= 1 and prior_none >= 1 and cap > 0):
            msg = (
                "thompson needs priors of at least 1 and cap > 0; "
                f"got prior_reward={prior_reward}, prior_none={prior_none}, cap={cap}"
            )
            raise PolicyError(msg)
        super().__init__(forgetting)
        self.prior_reward = prior_reward
        self.prior_none = prior_none
        self.cap = cap

    def plan(self, context: Context, candidates: Int32) -> Beliefs:
        """Both Beta parameters for each candidate."""
        shown, reward = self.of(candidates)
        won = np.clip(reward / self.cap, 0.0, shown)
        return Beliefs(self.prior_reward + won, self.prior_none + (shown - won))

    def _gains(self, rows: RowBlock) -> Float64:
        """Changes of what lies in 0..cap of the reward of one impression."""
        after = np.clip(rows.before + rows.reward, 0.0, self.cap)
        out: Float64 = after - np.clip(rows.before, 0.0, self.cap)
        return out


def build(settings: Settings, world: World) -> BetaThompson:
    """The policy, as the settings say; the largest reward is that of `[join] cap`."""
    policy = BetaThompson(
        prior_reward=settings.prior_reward,
        prior_none=settings.prior_none,
        cap=world.cap,
        forgetting=settings.forgetting(),
    )
    return policy.watched_by(settings, world)
