"""What a policy is: a context and candidates in, a choice and its probability out.

A policy says how it would choose (`plan`), and everything else follows from the plan: the draw, the
probabilities of all candidates, a whole slate with propensities (`bandits.slate`). Reading never writes: only
`learn`, `remove_items`, `served`, `restore` and `apply` change a policy.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from bandits.draws import Uniforms
from bandits.errors import PolicyError
from bandits.ops.arrays import Float32, Float64, Int32
from bandits.ops.choice import choose, rule_probabilities
from learners.rows import RowBlock
from stream.step import Replicated

__all__ = ["Beliefs", "Choice", "Context", "Policy", "PropensityKind", "Rule", "RulePolicy", "no_candidate"]

PropensityKind = Literal["exact", "estimated"]
"""Whether logged probabilities are those of the draw itself, or estimated; what is estimated says how."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a decision is made on, and what is logged with it for learning.

    `clusters` (K,) centroid ids, -1 for none, and `weights` (K,) summing to 1; `features` (d,) of the
    request.
    """

    clusters: Int32
    weights: Float32
    features: Float32 | None = None


class Choice(NamedTuple):
    """The chosen item row, its place among the candidates, its probability there and its score."""

    item: int
    place: int
    probability: float
    score: float


class Rule(NamedTuple):
    """A plan with exact probabilities; the meaning of the numbers stands in `bandits.ops.choice`.

    `scores` (n,), -inf for what may not be chosen; `widths` (n,) confidence widths, the unit of
    `temperature`.
    """

    scores: Float64
    widths: Float64
    top: int = 1
    temperature: float = 0.0
    spread: float = 0.0
    uniform: float = 0.0


class Beliefs(NamedTuple):
    """A plan that takes each candidate with the probability that it is the best by its belief, Beta(a, b)
    (n,); computed over `bins` (`bandits.ops.beliefs`)."""

    a: Float64
    b: Float64
    bins: int


class Policy(Replicated, Protocol):
    """A policy over item rows; it learns every decided slate with its logged context, whoever placed the
    items."""

    name: str
    propensity_kind: PropensityKind
    reaches_all: bool
    """Whether what `Rule.uniform` deals out is dealt to every item that may be shown, offered or not."""

    def candidates(self, context: Context) -> Int32 | None:
        """The rows that this policy may choose from, or None: whatever the caller offers."""

    def plan(self, context: Context, candidates: Int32) -> Rule | Beliefs:
        """How this policy would choose among `candidates` (n,), which are distinct rows."""

    def decide(self, context: Context, candidates: Int32, rng: Uniforms) -> Choice:
        """Draw one candidate; PolicyError where there is none."""

    def probabilities(self, context: Context, candidates: Int32) -> Float64:
        """Probabilities (n,) that sum to 1 over the candidates, or all zero where the policy has none."""

    def probability(self, context: Context, candidates: Int32, item: int) -> float:
        """Probability of one item row; 0 for one that is not among the candidates."""

    def learn(self, rows: RowBlock) -> Int32:
        """Learn outcomes in order; returns the item rows touched, ascending."""

    def served(self, rows: Int32) -> None:
        """On the serving side: these rows are in an answer whose impressions have not been learned yet."""

    def remove_items(self, rows: Int32) -> None:
        """Forget these rows; they may be given to other items."""


class RulePolicy(ABC):
    """What policies whose plan is a `Rule` share: they write `plan` and get exact probabilities.

    Example:
        >>> import numpy as np
        >>> class Newest(RulePolicy):
        ...     def plan(self, context: Context, candidates: Int32) -> Rule:
        ...         return Rule(candidates.astype(float), np.ones(candidates.size), uniform=0.5)
        >>> nobody = Context(np.zeros(1, np.int32), np.ones(1, np.float32))
        >>> Newest().probabilities(nobody, np.array([3, 8], np.int32)).tolist()
        [0.25, 0.75]
    """

    propensity_kind: PropensityKind = "exact"
    reaches_all: bool = False

    @abstractmethod
    def plan(self, context: Context, candidates: Int32) -> Rule:
        """How this policy would choose among `candidates` (n,)."""

    def candidates(self, context: Context) -> Int32 | None:
        """None: this policy takes whatever the caller offers."""
        return None

    def decide(self, context: Context, candidates: Int32, rng: Uniforms) -> Choice:
        """Draw one candidate with one uniform number.

        Raises:
            PolicyError: there is no candidate.
        """
        r = self.plan(context, candidates)
        place, probability = choose(
            r.scores, r.widths, r.top, r.temperature, r.spread, r.uniform, rng.random()
        )
        if place < 0:
            raise no_candidate(type(self).__name__, candidates.size)
        return Choice(int(candidates[place]), place, probability, float(r.scores[place]))

    def probabilities(self, context: Context, candidates: Int32) -> Float64:
        """Probabilities (n,) that sum to 1, or all zero where no candidate may be chosen."""
        r = self.plan(context, candidates)
        return rule_probabilities(r.scores, r.widths, r.top, r.temperature, r.spread, r.uniform)

    def probability(self, context: Context, candidates: Int32, item: int) -> float:
        """Probability of one item row; 0 for one that is not among the candidates."""
        return float(self.probabilities(context, candidates)[candidates == item].sum())

    def served(self, rows: Int32) -> None:  # noqa: B027
        """Nothing, unless a policy counts impressions that are still on their way."""


def no_candidate(name: str, offered: int) -> PolicyError:
    """The error of a decision without a candidate."""
    msg = (
        f"{name}: none of {offered} offered candidates may be chosen; ask `probabilities` first, or fall back"
    )
    return PolicyError(msg)
