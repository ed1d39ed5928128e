"""Slates with propensities: the ranker proposes, at some places the policy decides, and the odds are
logged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bandits.base import Context, Policy, PropensityKind
from bandits.draws import Draws
from bandits.errors import PolicyError
from bandits.ops.arrays import Bool, Float64, Int32
from bandits.plans import Places, require_plan

__all__ = ["Offered", "Slated", "build_slate", "slate_propensities", "slate_weight"]

_NONE = np.zeros(0, np.int32)


class Offered(NamedTuple):
    """What a policy could have placed: `rows` (n,) that are listed, and how many more `outside` of them.

    `hidden` (m,) are rows that are neither: none of them could have been placed.
    """

    rows: Int32
    outside: int = 0
    hidden: Int32 = _NONE


@dataclass(frozen=True, slots=True)
class Slated:
    """A built slate of n places: item rows, propensities given the items above, whether the policy decided
    there.

    `propensity_kind` says whether the propensities are exact or estimated.
    """

    items: Int32
    propensities: Float64
    explored: Bool
    propensity_kind: PropensityKind


def build_slate(
    ranked: Int32,
    policy: Policy,
    candidates: Int32,
    context: Context,
    *,
    epsilon: float,
    k: int,
    draws: Draws,
    outside: int = 0,
    strangers: Int32 = _NONE,
    known_as: Int32 | None = None,
) -> Slated:
    """Build a slate of at most k items; the same seed, request id and state give the same slate.

    `ranked` (m,) distinct rows in the ranker's order; `candidates` (n,) distinct rows that the policy may
    place: its own, already filtered. Fewer than k places are filled when both run out.

    Where the policy's reach is `Reach.EVERYTHING` it deals a share out to `outside` more items as well: all
    that may be shown and are not among `candidates`. `strangers` are the first k of those (or all) in an
    order drawn at random, so that nobody needs to list them.

    Where not every item has a row, `ranked` and `candidates` may be any other numbers, and so are the items
    of the slate: `known_as` (n,) are then the rows that the policy is asked about in the place of
    `candidates`.

    Raises:
        PolicyError: epsilon is not in 0..1, or k is negative.

    Example:
        >>> from bandits.policies.uniform import Uniform
        >>> nobody = Context(np.array([0], np.int32), np.ones(1, np.float32))
        >>> ranked, own = np.array([3, 1, 2], np.int32), np.array([7, 8], np.int32)
        >>> s = build_slate(ranked, Uniform(), own, nobody, epsilon=0.1, k=3, draws=Draws(1, "r1"))
        >>> s.items.tolist(), s.propensities.round(3).tolist()
        ([3, 1, 2], [0.9, 0.9, 0.9])
    """
    return _fill(
        ranked, policy, candidates, context, epsilon, k, draws.key, _NONE, outside, strangers, known_as
    )


def slate_propensities(
    ranked: Int32,
    policy: Policy,
    candidates: Int32,
    context: Context,
    items: Int32,
    *,
    epsilon: float,
    draws: Draws,
    outside: int = 0,
) -> Float64:
    """What the propensities (k,) of a slate would have been under this ranker, policy and epsilon.

    An item that is not among `candidates` is taken for one of the `outside` ones, as long as there are any;
    0 unless the policy's reach is `Reach.EVERYTHING`.
    """
    k = int(items.size)
    slated = _fill(ranked, policy, candidates, context, epsilon, k, draws.key, items, outside, _NONE)
    return slated.propensities


def _fill(
    ranked: Int32,
    policy: Policy,
    candidates: Int32,
    context: Context,
    epsilon: float,
    k: int,
    key: np.uint64,
    given: Int32,
    outside: int,
    strangers: Int32,
    known_as: Int32 | None = None,
) -> Slated:
    if not 0.0 <= epsilon <= 1.0 or k < 0 or outside < 0:
        msg = f"a slate needs epsilon in 0..1, k and outside >= 0; got epsilon={epsilon}, k={k}, {outside}"
        raise PolicyError(msg)
    items, propensities, explored = np.empty(k, np.int32), np.empty(k), np.zeros(k, np.bool_)
    filled = require_plan(policy.plan(context, candidates if known_as is None else known_as)).fill(
        Places(ranked, candidates, outside, strangers, epsilon, key, given, items, propensities, explored)
    )
    return Slated(items[:filled], propensities[:filled], explored[:filled], policy.propensity_kind)


def slate_weight(target: Float64, logged: Float64) -> Float64:
    """Weight (k,) of each place of a logged slate: the product of target / logged over it and the places
    above.

    Example:
        >>> slate_weight(np.array([0.5, 0.1]), np.array([0.25, 0.2])).tolist()
        [2.0, 1.0]
    """
    if target.shape != logged.shape or target.ndim != 1:
        msg = f"a weight needs two propensities for each place; got shapes {target.shape} and {logged.shape}"
        raise PolicyError(msg)
    return np.asarray(np.cumprod(target / logged), np.float64)
