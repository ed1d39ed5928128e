"""Policies whose value is asked of a log: how likely each would have been to show what was shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

import numpy as np
import numpy.typing as npt

from bandits import Context, Draws, Offered, Policy, Reach, slate_propensities
from learners.part import naming
from learners.request_features import RequestFeatures
from stream.blocks import Slate
from stream.outbox import revive_context

__all__ = ["LoggedTarget", "PolicyTarget", "Target", "slate_context"]

Float64 = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]

_NONE = np.zeros(0, np.int32)
_INTERCEPT = RequestFeatures()


class Target(Protocol):
    """A policy that decides every place of a slate."""

    name: str
    estimated: bool
    """Whether `propensities` are counted over draws, not computed."""

    def propensities(self, slate: Slate) -> Float64:
        """Probability (n,) of each shown item at its place, given the items above it."""


class LoggedTarget:
    """What was live itself: every weight is 1 and the estimate is the logged mean; the check of all else.

    Example:
        >>> slate = Slate(request_id="r", user_id="u", ts=0, items=["a"], propensities=[0.25])
        >>> LoggedTarget().propensities(slate).tolist()
        [0.25]
    """

    name = "(logged)"
    estimated = False

    def propensities(self, slate: Slate) -> Float64:
        """The logged ones; NaN where unknown."""
        return np.array([np.nan if p is None else p for p in slate.propensities or ()], np.float64)


def slate_context(slate: Slate, request: RequestFeatures) -> Context:
    """The context of a decision as it was logged, with the features that `request` finds in it."""
    features = request.of(revive_context(slate.context))
    return Context(np.array(slate.clusters, np.int32), np.array(slate.weights, np.float32), features)


class PolicyTarget:
    """A policy of the bandits room that decides everything (epsilon 1), in its current, replayed state.

    Asked at the moment of the decision, before that is learned, it answers as it would have then. Its
    candidates are those of `candidates`; by default its own (`Policy.reach`), or where it takes what it
    is offered, the logged items, shown and not. An item that it could not have placed has probability 0.

    Args:
        name: what it is called in the report.
        policy: the policy, which the replayed step teaches.
        find: item ids → rows, -1 for unknown.
        candidates: rows to choose from for a slate, with how many more where they are not all; None for the
            default. The decision's own count (`Slate.eligible`), where it has one, goes before.
        seed: of the draws of policies whose probabilities are estimated.
        request: the features of requests that the policy learns from.
        rank_features: the ranker's (n, F) of item rows (n,) for a slate's request; None: unknown.

    Example:
        >>> from bandits import Uniform
        >>> find = lambda ids: np.array([ord(i) for i in ids], np.int32)
        >>> slate = Slate(request_id="r", user_id="u", ts=0, items=["a", "b"], others=["c"])
        >>> slate.clusters, slate.weights = [0], [1.0]
        >>> PolicyTarget("uniform", Uniform(), find).propensities(slate).round(3).tolist()
        [0.333, 0.5]
    """

    def __init__(
        self,
        name: str,
        policy: Policy,
        find: Callable[[Sequence[str]], Int32],
        *,
        candidates: Callable[[Slate, Context], Int32 | Offered] | None = None,
        seed: int = 0,
        request: RequestFeatures = _INTERCEPT,
        rank_features: Callable[[Slate, Int32], Float32] | None = None,
    ) -> None:
        self.name = name
        self.estimated = policy.propensity_kind == "estimated"
        self._policy = policy
        self._find = find
        self._candidates = candidates or self._own
        self._seed, self._request = seed, request
        self._rank_features = rank_features

    def _own(self, slate: Slate, context: Context) -> Int32:
        reach = self._policy.reach(context)
        if reach is Reach.EVERYTHING or reach is Reach.OFFERED:
            return self._find([*slate.items, *slate.others])
        return reach

    def propensities(self, slate: Slate) -> Float64:
        """As if the policy decided every place; 0 from an item on that is unknown or could not be shown.

        Raises:
            PartError: the policy raises.
        """
        with naming(self.name, f"answered request {slate.request_id!r}"):
            return self._propensities(slate)

    def _propensities(self, slate: Slate) -> Float64:
        context = slate_context(slate, self._request)
        if self._rank_features is not None:
            context = replace(context, rank_features=partial(self._rank_features, slate))
        rows = self._find(slate.items)
        found = self._candidates(slate, context)
        offered, outside, hidden = found if isinstance(found, Offered) else Offered(found)
        impossible = np.flatnonzero((rows < 0) | np.isin(rows, hidden))
        n_known = int(impossible[0]) if impossible.size else rows.size
        out = np.zeros(rows.size)
        offered = np.unique(offered[offered >= 0]).astype(np.int32)
        if self._policy.reach(context) is not Reach.EVERYTHING:
            outside = 0
        elif slate.eligible:
            outside = max(0, slate.eligible - offered.size)
        out[:n_known] = slate_propensities(
            _NONE,
            self._policy,
            offered,
            context,
            rows[:n_known],
            epsilon=1.0,
            draws=Draws(self._seed, slate.request_id),
            outside=outside,
        )
        return out
