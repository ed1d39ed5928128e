"""Thompson sampling with a Beta belief about each item's reward, whatever the context."""

from __future__ import annotations

import numpy as np

from bandits.arms import ArmCounts
from bandits.base import Beliefs, Choice, Context, PropensityKind, no_candidate
from bandits.draws import Uniforms
from bandits.errors import PolicyError
from bandits.ops.arrays import Float64, Int32
from bandits.ops.slate import sample_beliefs

__all__ = ["BetaThompson"]


class BetaThompson(ArmCounts):
    """Draw a reward rate for each candidate from Beta(prior + r, prior + n - r); take the best.

    The belief lives on impressions and rewards in `immediate` mode: an impression counts as a failure at once
    and a reward moves it over when it comes. Rewards outside 0..1 an impression are cut to that. In a slate
    each place of the policy uses a draw of its own (in-slate Thompson sampling).

    Probabilities have no closed form and are counted over `draws` draws from a counter-based generator:
    `probabilities` gives hits / n for the whole set, `probability` the (hits + 1) / (n + 1) that is logged.

    Example:
        >>> policy = BetaThompson(draws=100)
        >>> nobody = Context(np.array([0], np.int32), np.ones(1, np.float32))
        >>> float(policy.probabilities(nobody, np.array([4, 7], np.int32)).sum())
        1.0
    """

    name = "thompson"
    propensity_kind: PropensityKind = "estimated"

    def __init__(self, *, prior_reward: float = 1.0, prior_none: float = 1.0, draws: int = 100) -> None:
        if not (prior_reward >= 1 and prior_none >= 1 and draws >= 1):
            msg = (
                "thompson needs a prior of at least one reward and one impression without, and draws >= 1; "
                f"got prior_reward={prior_reward}, prior_none={prior_none}, draws={draws}"
            )
            raise PolicyError(msg)
        super().__init__()
        self.prior_reward = prior_reward
        self.prior_none = prior_none
        self.draws = draws

    def candidates(self, context: Context) -> Int32 | None:
        """None: this policy takes whatever the caller offers."""
        return None

    def plan(self, context: Context, candidates: Int32) -> Beliefs:
        """Both Beta parameters for each candidate."""
        shown, reward = self.of(candidates)
        won = np.clip(reward, 0.0, shown)
        return Beliefs(self.prior_reward + won, self.prior_none + (shown - won), self.draws)

    def decide(self, context: Context, candidates: Int32, rng: Uniforms) -> Choice:
        """One draw for each candidate; the probability is estimated.

        Raises:
            PolicyError: there is no candidate.
        """
        if candidates.size == 0:
            raise no_candidate(self.name, 0)
        plan = self.plan(context, candidates)
        sample = sample_beliefs(plan.a, plan.b, 1, np.uint64(rng.random() * 2**53), 0)[0]
        place = int(sample.argmax())
        item = int(candidates[place])
        return Choice(item, place, self.probability(context, candidates, item), float(sample[place]))

    def probabilities(self, context: Context, candidates: Int32) -> Float64:
        """How often (n,) each candidate is the best of `draws` draws."""
        if candidates.size == 0:
            return np.zeros(0)
        return self._hits(context, candidates) / self.draws

    def probability(self, context: Context, candidates: Int32, item: int) -> float:
        """(hits + 1) / (draws + 1) for one item row; 0 for one that is not among the candidates."""
        here = candidates == item
        if not here.any():
            return 0.0
        return float((self._hits(context, candidates)[here].sum() + 1.0) / (self.draws + 1.0))

    def _hits(self, context: Context, candidates: Int32) -> Float64:
        plan = self.plan(context, candidates)
        # The same draws for the same beliefs: asking twice gives the same answer.
        winners = sample_beliefs(plan.a, plan.b, self.draws, np.uint64(0), 0).argmax(axis=1)
        return np.bincount(winners, minlength=candidates.size).astype(np.float64)

    def served(self, rows: Int32) -> None:
        """Nothing here depends on impressions that are still on their way."""
