"""From a log to rounds: the propensities of other policies at the moment of each decision, and its
rewards."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from replay.drive import Observer
from replay.errors import ReplayError
from replay.estimators import Rounds
from replay.targets import Target
from stream.blocks import CLOSED, SHOWN, FeedbackBlock, Slate
from stream.events import Decision, LoggedEvent

__all__ = ["OffPolicy"]

_MAX_UNSHOWN = 200_000


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


class OffPolicy(Observer):
    """Gathers `Rounds` for several targets while a log is replayed.

    When a decided slate is shown, each target is asked for its propensities, before anything of it is
    learned; when the window closes (or the log ends) the rewards join them. Left out, and counted as foreign:
    somebody else's slates, those whose propensities are not all known, and those that a client showed in
    another order than was decided, since a propensity is that of an item at its place given the items above.

    Grows by 8 bytes a target and 16 more for each place, and with the decisions that are not shown yet, at
    most 200,000.

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

    def __init__(self, targets: Sequence[Target]) -> None:
        self._targets = {target.name: target for target in targets}
        self._columns = {name: _Columns() for name in self._targets}
        self._logged = array("d")
        self._rewards = array("d")
        self._start = array("q", [0])
        self._open: dict[str, _Open] = {}
        self._unshown: dict[str, list[str]] = {}
        self._estimated: set[str] = set()
        self.n_foreign = 0

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
        )

    def note(self, event: LoggedEvent, *, backfill: bool) -> None:
        """Remember of a decision what its slate will not say."""
        if type(event) is not Decision:
            return
        if event.propensity_kind != "exact":
            self._estimated.add(event.request_id)
        if not event.auto:
            self._unshown[event.request_id] = event.items
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
                self._settle(block.slates[ref].request_id)

    def finish(self) -> None:
        """Windows still open count with the rewards they have."""
        for request_id in list(self._open):
            self._settle(request_id)

    def _shown(self, slate: Slate) -> None:
        estimated = slate.request_id in self._estimated
        self._estimated.discard(slate.request_id)
        decided = self._unshown.pop(slate.request_id, slate.items)
        logged = slate.propensities or []
        n = len(slate.items)
        usable = slate.decided and len(logged) == n > 0 and decided[:n] == slate.items
        if not usable or not all(p is not None and 0.0 < p <= 1.0 for p in logged):
            self.n_foreign += 1
            return
        asked = [array("d", target.propensities(slate).tolist()) for target in self._targets.values()]
        known = array("d", [p for p in logged if p is not None])
        self._open[slate.request_id] = _Open(slate, known, asked, estimated)

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
