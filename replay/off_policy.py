"""From a log to rounds: the propensities of other policies at the moment of each decision, and its
rewards."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from replay.drive import Observer
from replay.errors import ReplayError
from replay.rounds import Rounds
from replay.targets import Target
from stream.blocks import CLOSED, SHOWN, FeedbackBlock, Slate
from stream.events import Decision, LoggedEvent
from stream.slates import decided_slate

__all__ = ["LEFT_OUT", "OffPolicy"]

_MAX_UNSHOWN = 200_000
_ROUNDING = 1e-9

LEFT_OUT: Mapping[str, str] = {
    "no_decision": "impressions without a decision of ours: nobody knows what else could have been shown",
    "propensities_without_decision": (
        "impressions with propensities and no decision: these say how likely the items were, not which "
        "context and which candidates they were drawn from, so no other policy can be asked; log a "
        "`decision` for each"
    ),
    "unknown_propensities": "decisions of which a shown item has no propensity above 0 and at most 1",
    "nothing_shown": "decisions of which nothing was shown",
    "other_order": "decisions that the client showed in another order or with other items",
    "candidates_named": "decisions among candidates that the request named: not all of them are logged",
    "never_shown": "decisions that were never shown",
}
"""Why slates are left out, by the name of the counter."""


@dataclass(slots=True)
class _Columns:
    """One target's rounds in the making; rewards and starts are common to all targets."""

    target: array[float] = field(default_factory=lambda: array("d"))
    n_estimated: int = 0


@dataclass(slots=True)
class _Open:
    slate: Slate
    logged: array[float]
    targets: list[array[float]]
    estimated: bool


class _Unshown(NamedTuple):
    """A decision that waits for its impression: its items, and what the targets said when it was made."""

    items: list[str]
    targets: list[array[float]]


class OffPolicy(Observer):
    """Gathers `Rounds` for several targets while a log is replayed.

    When a decision is made, each target is asked for its propensities, before anything of it is learned and
    for as many items as were decided, however few of them are shown; when the window closes (or the log ends)
    the rewards join them. Left out, and counted by reason (`left_out`): somebody else's slates, those whose
    propensities are not all known, and those that a client showed in another order than was decided, since a
    propensity is that of an item at its place given the items above.

    Grows by 8 bytes a target and 16 more for each place, and with the decisions that are not shown yet, at
    most 200,000.

    Args:
        targets: whom to ask.
        most: the largest reward of a place, `JoinSettings.cap`.

    Example:
        >>> from replay.targets import LoggedTarget
        >>> slate = Slate(request_id="r", user_id="u", ts=0, items=["a", "b"], propensities=[0.5, 0.25])
        >>> slate.decided, slate.rewards = True, {1: 1.0}
        >>> gathered = OffPolicy([LoggedTarget()])
        >>> block = FeedbackBlock([slate], [], [0, 2], [0, 0], [-1, -1], [0.0, 0.0], [False, False], [0, 9])
        >>> gathered.observe(block)
        >>> log = gathered.rounds("(logged)")
        >>> log.logged.tolist(), log.rewards.tolist()
        ([0.5, 0.25], [0.0, 1.0])
    """

    def __init__(self, targets: Sequence[Target], *, most: float = 1.0) -> None:
        self._targets = {target.name: target for target in targets}
        self._columns = {name: _Columns() for name in self._targets}
        self._logged = array("d")
        self._rewards = array("d")
        self._start = array("q", [0])
        self._open: dict[str, _Open] = {}
        self._unshown: dict[str, _Unshown] = {}
        self._estimated: set[str] = set()
        self._given: set[str] = set()
        self._foreign: dict[str, str] = {}
        self._most = most
        self.left_out: dict[str, int] = {}

    @property
    def n_foreign(self) -> int:
        """Slates that were shown and left out."""
        return sum(count for reason, count in self.left_out.items() if reason != "never_shown")

    def rounds(self, target: str) -> Rounds:
        """The rounds gathered for one target so far.

        Raises:
            ReplayError: there is no such target.
        """
        if target not in self._columns:
            msg = f"no target {target!r} was evaluated; there are {', '.join(self._columns)}"
            raise ReplayError(msg)
        columns = self._columns[target]
        return Rounds(
            np.array(columns.target),
            np.array(self._logged),
            np.array(self._rewards),
            np.array(self._start, np.int64),
            n_foreign=self.n_foreign,
            n_estimated=columns.n_estimated,
            most=self._most,
        )

    def asks(self, event: LoggedEvent) -> bool:
        """Targets are asked when a decision is made that its client will show later, or never."""
        return type(event) is Decision and not event.auto and not self._has(event.request_id)

    def _has(self, request_id: str) -> bool:
        return request_id in self._unshown or request_id in self._open

    def note(self, event: LoggedEvent, *, backfill: bool) -> None:
        """Remember of a decision what its slate will not say."""
        if type(event) is not Decision:
            return
        if event.propensity_kind != "exact":
            self._estimated.add(event.request_id)
        if event.given:
            self._given.add(event.request_id)
        if event.auto or self._has(event.request_id):
            return
        self._unshown[event.request_id] = _Unshown(event.items, self._ask(decided_slate(event)))
        if len(self._unshown) > _MAX_UNSHOWN:
            del self._unshown[next(iter(self._unshown))]

    def needs_state(self, block: FeedbackBlock) -> bool:
        """Targets are asked when something is shown."""
        return SHOWN in block.kind

    def observe(self, block: FeedbackBlock) -> None:
        """Ask at SHOWN, settle at CLOSED; clicks find their way into the slate's rewards."""
        for kind, ref in zip(block.kind, block.ref, strict=True):
            if kind == SHOWN:
                self._shown(block.slates[ref])
            elif kind == CLOSED:
                self._foreign.pop(block.slates[ref].request_id, None)
                self._settle(block.slates[ref].request_id)

    def finish(self) -> None:
        """Windows still open count with the rewards they have."""
        for request_id in list(self._open):
            self._settle(request_id)
        if self._unshown:
            self.left_out["never_shown"] = len(self._unshown)

    def _shown(self, slate: Slate) -> None:
        estimated = slate.request_id in self._estimated
        self._estimated.discard(slate.request_id)
        before = self._foreign.pop(slate.request_id, None)
        if before is not None:  # somebody else's until its decision came
            self.left_out[before] -= 1
        waited = self._unshown.pop(slate.request_id, None)
        reason = _unusable(slate, None if waited is None else waited.items)
        if slate.request_id in self._given:
            self._given.discard(slate.request_id)
            reason = reason or "candidates_named"
        if reason is not None:
            self._foreign[slate.request_id] = reason
            self.left_out[reason] = self.left_out.get(reason, 0) + 1
            return
        n = len(slate.items)
        asked = self._ask(slate) if waited is None else [column[:n] for column in waited.targets]
        known = array("d", [min(p, 1.0) for p in slate.propensities or () if p is not None])
        self._open[slate.request_id] = _Open(slate, known, asked, estimated)

    def _ask(self, slate: Slate) -> list[array[float]]:
        return [array("d", target.propensities(slate).tolist()) for target in self._targets.values()]

    def _settle(self, request_id: str) -> None:
        entry = self._open.pop(request_id, None)
        if entry is None:
            return
        rewards = entry.slate.rewards
        self._logged.extend(entry.logged)
        self._rewards.extend(rewards.get(place, 0.0) for place in range(len(entry.logged)))
        self._start.append(len(self._logged))
        for columns, target, asked in zip(
            self._columns.values(), self._targets.values(), entry.targets, strict=True
        ):
            columns.target.extend(asked)
            columns.n_estimated += entry.estimated or target.estimated


def _unusable(slate: Slate, decided: list[str] | None) -> str | None:
    """Why a shown slate cannot be a round, by a name of `LEFT_OUT`; `decided` are the items in their order,
    None where they were shown as they were decided."""
    logged = slate.propensities
    if not slate.decided:
        return "propensities_without_decision" if logged else "no_decision"
    n = len(slate.items)
    if decided is not None and decided[:n] != slate.items:
        return "other_order"
    if not n:
        return "nothing_shown"
    known = logged is not None and len(logged) == n
    if not known or not all(p is not None and 0.0 < p <= 1.0 + _ROUNDING for p in logged or ()):
        return "unknown_propensities"
    return None
