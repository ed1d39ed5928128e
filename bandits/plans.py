"""How a policy would choose among candidates: by scores, or by what it believes of each.

A plan fills the places of a slate, draws one candidate, and gives the probabilities of all. A further kind of
plan is a class with these three methods; nothing asks which one it is.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, cast

import numpy as np

from bandits.errors import PolicyError
from bandits.ops.arrays import Bool, Float64, Int32
from bandits.ops.beliefs import best_probabilities, choose_best
from bandits.ops.choice import choose, rule_probabilities
from bandits.ops.inverse_gap import choose_by_gap, gap_probabilities
from bandits.ops.slate import fill_by_beliefs, fill_by_gap, fill_by_rule

__all__ = ["Beliefs", "InverseGap", "Places", "Plan", "Rule", "require_plan"]


class Places(NamedTuple):
    """The k places of a slate that a plan fills; `bandits.ops.slate` says how.

    `ranked` (m,) in the ranker's order; `candidates` (n,) those of the plan. `outside` counts items that are
    no candidates and share in what a plan deals out to everybody, `strangers` are the first of them in an
    order drawn at random. `epsilon` is the chance that the plan decides a place, `key` that of the request's
    draws. `given` (k,) are items to price instead of drawing, or empty. `items`, `propensities` and
    `explored` (k,) are written.
    """

    ranked: Int32
    candidates: Int32
    outside: int
    strangers: Int32
    epsilon: float
    key: np.uint64
    given: Int32
    items: Int32
    propensities: Float64
    explored: Bool


class Plan(Protocol):
    """How a policy would choose among candidates (n,)."""

    def fill(self, places: Places) -> int:
        """Fill the places, one after the other, without repeating an item; returns how many it filled."""

    def choose(self, u: float) -> tuple[int, float, float]:
        """The place of the candidate that the uniform number `u` draws, its probability and its score; place
        -1 if there is none to draw."""

    def probabilities(self) -> Float64:
        """Probabilities (n,) of all candidates: they sum to 1, or to 0 if none may be chosen."""


def require_plan(made: object) -> Plan:
    """What a policy's `plan` returned, which may be of another author.

    Raises:
        PolicyError: it is no plan.

    Example:
        >>> require_plan(None)
        Traceback (most recent call last):
        bandits.errors.PolicyError: plan returned None; expected a Rule, Beliefs or a plan
    """
    if hasattr(made, "fill") and hasattr(made, "choose") and hasattr(made, "probabilities"):
        return cast(Plan, made)
    came = "None" if made is None else f"an object of type {type(made).__name__!r}"
    msg = f"plan returned {came}; expected a Rule, Beliefs or a plan"
    raise PolicyError(msg)


def _require_each(n: int, *shapes: tuple[int, ...]) -> None:
    """That there is a number for each candidate: a kernel looks no further than at its loop's end."""
    for shape in shapes:
        if shape != (n,):
            msg = f"a plan of {n} candidates needs arrays of shape {(n,)}, got one of {shape}"
            raise PolicyError(msg)


class Rule(NamedTuple):
    """A plan by scores, with exact probabilities; the meaning of the numbers stands in `bandits.ops.choice`.

    `scores` (n,), -inf for what may not be chosen; `widths` (n,) confidence widths, the unit of
    `temperature`.

    Example:
        >>> Rule(np.array([2.0, 3.0]), np.ones(2), uniform=0.5).probabilities().tolist()
        [0.25, 0.75]
    """

    scores: Float64
    widths: Float64
    top: int = 1
    temperature: float = 0.0
    spread: float = 0.0
    uniform: float = 0.0

    def fill(self, places: Places) -> int:
        """See `Plan.fill`."""
        p = places
        _require_each(p.candidates.size, self.scores.shape, self.widths.shape)
        return fill_by_rule(
            p.ranked, p.candidates, self.scores.copy(), self.widths, self.top, self.temperature, self.spread,
            self.uniform, p.outside, p.strangers, p.epsilon, p.key, p.given, p.items, p.propensities,
            p.explored,
        )  # fmt: skip

    def choose(self, u: float) -> tuple[int, float, float]:
        """See `Plan.choose`."""
        place, probability = choose(
            self.scores, self.widths, self.top, self.temperature, self.spread, self.uniform, u
        )
        return place, probability, float(self.scores[place]) if place >= 0 else 0.0

    def probabilities(self) -> Float64:
        """See `Plan.probabilities`."""
        return rule_probabilities(
            self.scores, self.widths, self.top, self.temperature, self.spread, self.uniform
        )


class Beliefs(NamedTuple):
    """A plan that takes each candidate with the probability that it is the best by its belief, Beta(a, b)
    (n,) with a, b >= 1; at a lower place of a slate, the best of those not above (`bandits.ops.beliefs`).

    Example:
        >>> Beliefs(np.array([2.0, 1.0]), np.ones(2)).probabilities().round(6).tolist()
        [0.666667, 0.333333]
    """

    a: Float64
    b: Float64

    def fill(self, places: Places) -> int:
        """See `Plan.fill`; items outside the candidates have no share."""
        p = places
        _require_each(p.candidates.size, self.a.shape, self.b.shape)
        return fill_by_beliefs(
            p.ranked, p.candidates, self.a, self.b, p.epsilon, p.key, p.given, p.items,
            p.propensities, p.explored,
        )  # fmt: skip

    def choose(self, u: float) -> tuple[int, float, float]:
        """See `Plan.choose`; the score is the mean of the belief."""
        place, probability = choose_best(self.a, self.b, u)
        mean = self.a[place] / (self.a[place] + self.b[place]) if place >= 0 else 0.0
        return place, probability, float(mean)

    def probabilities(self) -> Float64:
        """See `Plan.probabilities`."""
        if self.a.size == 0:
            return np.zeros(0)
        out: Float64 = best_probabilities(self.a, self.b)
        return out


class InverseGap(NamedTuple):
    """A plan by predicted losses (n,) in 0..1: the more a candidate is worse than the best, the less often it
    is taken (`bandits.ops.inverse_gap`); `gamma` in 0..inf says how strictly. `fast`: FastCB's form, which
    explores little where the best predicted loss is near 0; else SquareCB's.

    Example:
        >>> InverseGap(np.array([0.2, 0.7]), gamma=6.0).probabilities().tolist()
        [0.8, 0.2]
    """

    losses: Float64
    gamma: float
    fast: bool = False

    def fill(self, places: Places) -> int:
        """See `Plan.fill`; items outside the candidates have no share."""
        p = places
        _require_each(p.candidates.size, self.losses.shape)
        return fill_by_gap(
            p.ranked, p.candidates, self.losses, self.gamma, self.fast, p.epsilon, p.key, p.given, p.items,
            p.propensities, p.explored,
        )  # fmt: skip

    def choose(self, u: float) -> tuple[int, float, float]:
        """See `Plan.choose`; the score is the predicted reward."""
        place, probability = choose_by_gap(self.losses, self.gamma, self.fast, u)
        return place, probability, 1.0 - float(self.losses[place]) if place >= 0 else 0.0

    def probabilities(self) -> Float64:
        """See `Plan.probabilities`."""
        return gap_probabilities(self.losses, self.gamma, self.fast)
