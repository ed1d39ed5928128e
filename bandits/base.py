"""What a policy is: a context and candidates in, a choice and its probability out.

A policy says what it may choose from (`reach`) and how it would choose (`plan`). Everything else follows from
the plan: the draw, the probabilities of all candidates, a whole slate with propensities (`bandits.slate`).
Reading never writes: only `learn`, `remove_items`, `served`, `age_pending`, `centroids_gone`, `restore` and
`apply` change a policy.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar, Literal, NamedTuple

from bandits.draws import Uniforms
from bandits.drift import Watched
from bandits.errors import PolicyError
from bandits.ops.arrays import Float32, Float64, Int32
from bandits.plans import Plan, require_plan
from stream.frame import Frame

__all__ = ["Choice", "Context", "Policy", "PropensityKind", "Reach", "no_candidate"]

PropensityKind = Literal["exact", "estimated"]
"""Whether logged probabilities are those of the draw itself, or estimated; what is estimated says how."""


class Reach(Enum):
    """What a policy may choose from if it does not list the rows itself (`Policy.reach`)."""

    EVERYTHING = "everything"
    """Every item that may be shown now. Nobody lists them: those that the sources offer are candidates by
    name, the others are counted, and as many as the slate can hold are drawn at random (`bandits.slate`)."""
    OFFERED = "offered"
    """What the sources offer, and some more that are drawn at random for each request: for a policy that
    must look at each candidate, so that every item is among them sooner or later."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a decision is made on, and what is logged with it for learning.

    `clusters` (K,) centroid ids, -1 for none, and `weights` (K,) summing to 1; `features` (d,) of the
    request; `rank_features` gives the ranker's features (n, F) of item rows (n,) for this request, as the
    decision will log them, NaN where nobody knows them.
    """

    clusters: Int32
    weights: Float32
    features: Float32 | None = None
    rank_features: Callable[[Int32], Float32] | None = None


class Choice(NamedTuple):
    """The chosen item row, its place among the candidates, its probability there and its score."""

    item: int
    place: int
    probability: float
    score: float


class Policy(Watched):
    """A policy over item rows; it learns every decided slate with its logged context, whoever placed the
    items.

    A policy of your own extends this class: it writes `plan`, `learn`, `remove_items`, `snapshot` and
    `restore`, and says what of its state replicas need as every part does (`spec`, `touched`, `export`,
    `adopt`). The hooks (`reach` to `describe`) do nothing here, so that nobody has to ask which policy this
    is.

    Example:
        >>> import numpy as np
        >>> from bandits.plans import Rule
        >>> from bandits.policies.uniform import Uniform
        >>> class Newest(Uniform):
        ...     def plan(self, context: Context, candidates: Int32) -> Rule:
        ...         return Rule(candidates.astype(float), np.ones(candidates.size), uniform=0.5)
        >>> nobody = Context(np.zeros(1, np.int32), np.ones(1, np.float32))
        >>> Newest().probabilities(nobody, np.array([3, 8], np.int32)).tolist()
        [0.25, 0.75]
    """

    name: ClassVar[str]
    propensity_kind: PropensityKind = "exact"
    goes_by_slates: bool = False
    """Whether a click counts by the time of its impression (`RowBlock.slate_ts`): between partitions that
    time travels only where a policy says so, and else it is the click's own."""

    # --- deciding ---

    def reach(self, context: Context) -> Int32 | Reach:
        """The rows that this policy may choose from, or which items it takes if it does not list them."""
        return Reach.OFFERED

    @abstractmethod
    def plan(self, context: Context, candidates: Int32) -> Plan:
        """How this policy would choose among `candidates` (n,), which are distinct rows."""

    def best_of(self, context: Context, rows: Int32, n: int) -> Int32:
        """The `n` of its own candidates `rows` that are worth ranking beside what the sources offer."""
        return rows[:n]

    def decide(self, context: Context, candidates: Int32, rng: Uniforms) -> Choice:
        """Draw one candidate with one uniform number.

        Raises:
            PolicyError: there is no candidate, or `plan` returned no plan.
        """
        plan = require_plan(self.plan(context, candidates))
        place, probability, score = plan.choose(rng.random())
        if place < 0:
            raise no_candidate(type(self).__name__, candidates.size)
        return Choice(int(candidates[place]), place, probability, score)

    def probabilities(self, context: Context, candidates: Int32) -> Float64:
        """Probabilities (n,) that sum to 1, or all zero where no candidate may be chosen."""
        return require_plan(self.plan(context, candidates)).probabilities()

    def probability(self, context: Context, candidates: Int32, item: int) -> float:
        """Probability of one item row; 0 for one that is not among the candidates."""
        return float(self.probabilities(context, candidates)[candidates == item].sum())

    # --- state ---

    @abstractmethod
    def snapshot(self) -> Frame:
        """The whole state."""

    @abstractmethod
    def restore(self, frame: Frame) -> None:
        """Become the state of a snapshot."""

    # --- hooks ---

    def served(self, rows: Int32) -> None:
        """On the serving side: these rows are in an answer whose impressions have not been learned yet."""

    def age_pending(self) -> None:
        """On the serving side, once an attribution window: answers that were never shown stop counting."""

    def centroids_gone(self, ids: Int32) -> None:
        """At a tick: all centroid ids (n,) that were given once and live no more; they never come back."""

    def describe(self, row: int) -> Mapping[str, Any]:
        """What it knows of one item, for people, in what JSON can hold; empty if it knows nothing."""
        return {}


def no_candidate(name: str, offered: int) -> PolicyError:
    """The error of a decision without a candidate."""
    msg = (
        f"{name}: none of {offered} offered candidates may be chosen; ask `probabilities` first, or fall back"
    )
    return PolicyError(msg)
