"""How well the items of each shown list were ordered, before anything of the list was learned, beside simple
orders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from monitor import ORDER_METRICS, order_metrics
from replay.drive import Observer
from replay.drop_one import DropOne
from replay.list_scorer import ListScorer
from replay.orders import SIMPLE_ORDERS, SimpleOrders
from replay.paired import Halves, PairedSums
from stream.blocks import CLICK, CLOSED, ORGANIC, SHOWN, FeedbackBlock, Slate
from stream.events import Decision, LoggedEvent

__all__ = ["FRESHET", "LIST_METRICS", "Lists", "ListsResult"]

Float64 = npt.NDArray[np.float64]

FRESHET = "Freshet"
LIST_METRICS = (*ORDER_METRICS, "log_loss")
"""What is measured of each list. Log loss has Freshet alone, and beside it `random`, where all are alike."""

_MRR = LIST_METRICS.index("mrr")
_OTHER = "(other placements)"
_MOST_PLACEMENTS = 20
_MOST_USERS = 1_000_000
_MOST_GIVEN = 200_000
_LONG = 3


@dataclass(slots=True)
class ListsResult:
    """Sums over the lists with a rewarded click, for each order and metric.

    `parts` hold some of the lists: those with a click on an item that no list had shown before, those of
    users of whom the log had held nothing, and by placement (at most 20, the rest as one). `unscored` counts
    clicks on items to which no score was given: they stand last, and have no log loss. `without` is where
    the lists are scored without each feature, if that was asked for. `shown` counts the lists that were
    looked at, one in `every`, with and without a click. `n_long` of those with a click hold three items or
    more, not all of them clicked, and `mrr_long` is the sum of Freshet's MRR over these: in shorter lists
    chance alone is nearly right.
    """

    orders: tuple[str, ...] = (FRESHET,)
    whole: PairedSums = field(default_factory=lambda: PairedSums(1, len(LIST_METRICS)))
    halves: Halves = field(default_factory=lambda: Halves(1, len(LIST_METRICS)))
    parts: dict[str, PairedSums] = field(default_factory=dict)
    unscored: int = 0
    without: DropOne | None = None
    every: int = 1
    shown: int = 0
    n_long: int = 0
    mrr_long: float = 0.0

    def add(self, values: Float64, parts: Sequence[str]) -> None:
        """Take the metrics (O, M) of one list, which belongs to `parts` too."""
        self.whole.add(values)
        self.halves.add(values)
        for name in parts:
            if name not in self.parts:
                self.parts[name] = PairedSums(*values.shape)
            self.parts[name].add(values)

    def by_part(self) -> Mapping[str, PairedSums]:
        """The sums by name: all lists, the second half, and the parts."""
        return {"all lists": self.whole, "second half": self.halves.second(), **self.parts}


class _Shown(NamedTuple):
    """A list whose window is open: what each order made of it when it was shown."""

    slate: Slate
    scores: Float64
    was_shown: npt.NDArray[np.bool_]
    is_new_user: bool


class Lists(Observer):
    """Scores the order of every shown list, by the state when it was shown and by simple orders then.

    When the window closes (or the log ends) the scores are held against what was clicked: a list with at
    least one rewarded place counts. Own decisions and lists of others are treated alike: their items are
    scored anew, by the settings of this replay; where the client named the candidates, as logged.

    Grows with the scores of lists whose window is open, 8 bytes an order and item; with the simple orders'
    items; and remembers a million users.

    Args:
        scorer: reads the state that the step is learning.
        simple: also score the simple orders.
        every: score one in so many lists, for long logs; the simple orders learn of all.
        without: scores the lists in place of `scorer`, without each feature too.

    Example:
        >>> class Alphabet:
        ...     def scores(self, slate, ts, as_logged):
        ...         return -np.array([float(ord(item)) for item in slate.items])
        >>> lists = Lists(Alphabet())
        >>> slate = Slate(request_id="r", user_id="u", ts=5, items=["b", "a"], rewards={1: 1.0})
        >>> lists.observe(FeedbackBlock([slate], [], [0], [0], [-1], [0.0], [False], [5]))
        >>> lists.finish()
        >>> whole, displayed = lists.result.whole, lists.result.orders.index("as displayed")
        >>> whole.mean(0, 0), whole.mean(displayed, 0)
        (1.0, 0.5)
    """

    def __init__(
        self, scorer: ListScorer, *, simple: bool = True, every: int = 1, without: DropOne | None = None
    ) -> None:
        self._score = scorer.scores if without is None else without.shown
        self._every, self._without = every, without
        self._simple = SimpleOrders() if simple else None
        self._users: dict[str, None] = {}  # those last seen, the longest ago first
        self._given: dict[str, None] = {}  # decisions that are not shown yet
        self._n_lists = 0
        self._open: dict[str, _Shown] = {}
        orders = (FRESHET, *(SIMPLE_ORDERS if simple else ()))
        shape = len(orders), len(LIST_METRICS)
        self.result = ListsResult(orders, PairedSums(*shape), Halves(*shape), without=without, every=every)

    def note(self, event: LoggedEvent, *, backfill: bool) -> None:
        """Remember of a decision that the client named its candidates: its slate does not say so."""
        if type(event) is Decision and event.given:
            self._given[event.request_id] = None
            if len(self._given) > _MOST_GIVEN:
                del self._given[next(iter(self._given))]

    def needs_state(self, block: FeedbackBlock) -> bool:
        """What is shown is ordered first."""
        return SHOWN in block.kind

    def observe(self, block: FeedbackBlock) -> None:
        """Score what is shown, and learn what the simple orders count."""
        before = block.before or [0.0] * len(block)
        for kind, ref, place, reward, was, ts in zip(
            block.kind, block.ref, block.place, block.reward, before, block.ts, strict=True
        ):
            if kind == ORGANIC:
                user_id, item_id = block.organic[ref]
                self._meet(user_id)
                self._clicked(item_id, ts, 0.0, reward, in_list=False)
                continue
            slate = block.slates[ref]
            if kind == SHOWN:
                self._shown(slate, ts)
            elif kind == CLICK:
                self._clicked(slate.items[place], ts, was, was + reward, in_list=True)
            elif kind == CLOSED:
                self._closed(slate.request_id)

    def finish(self) -> None:
        """Windows still open count with the clicks they have."""
        for request_id in list(self._open):
            self._closed(request_id)

    def _meet(self, user_id: str) -> bool:
        """Whether nothing was seen of this user before; from now on something was."""
        is_new = user_id not in self._users
        if not is_new:
            del self._users[user_id]
        elif len(self._users) >= _MOST_USERS:
            del self._users[next(iter(self._users))]
        self._users[user_id] = None
        return is_new

    def _clicked(self, item_id: str, ts: int, was: float, now: float, *, in_list: bool) -> None:
        """The reward of a place went from `was` to `now`: simple orders count places with a reward."""
        change = float(now > 0.0) - float(was > 0.0)
        if change and self._simple is not None:
            self._simple.clicked(item_id, ts, change, in_list=in_list)

    def _shown(self, slate: Slate, ts: int) -> None:
        is_new_user = self._meet(slate.user_id)
        as_logged = self._given.pop(slate.request_id, 0) is None
        there = self._open.pop(slate.request_id, None)
        if there is not None:
            # Shown again, since its decision came late: what is asked is still what was known at first.
            if there.slate.items == slate.items:
                self._open[slate.request_id] = there._replace(slate=slate)
            elif self._without is not None:
                self._without.drop(slate.request_id)
            return
        self._n_lists += 1
        if (self._n_lists - 1) % self._every == 0 and slate.items:
            self.result.shown += 1
            own = np.asarray(self._score(slate, ts, as_logged=as_logged), np.float64)
            scores = np.where(np.isfinite(own), own, -np.inf)[None]
            was_shown = np.ones(scores.size, np.bool_)
            if self._simple is not None:
                scores = np.concatenate((scores, self._simple.scores(slate.items, ts)))
                was_shown = self._simple.was_shown(slate.items)
            self._open[slate.request_id] = _Shown(slate, scores, was_shown, is_new_user)
        if self._simple is not None:
            self._simple.shown(slate.items)

    def _closed(self, request_id: str) -> None:
        shown = self._open.pop(request_id, None)
        if shown is None:
            return
        clicked = np.array([shown.slate.rewards.get(n, 0.0) > 0.0 for n in range(len(shown.slate.items))])
        if self._without is not None:
            self._without.closed(request_id, clicked)
        if not clicked.any():
            return
        values = np.full((len(self.result.orders), len(LIST_METRICS)), np.nan)
        values[:, :-1] = order_metrics(shown.scores, clicked)
        self._log_loss(shown.scores[0], clicked, values)
        if clicked.size >= _LONG and not clicked.all():
            self.result.n_long += 1
            self.result.mrr_long += float(values[0, _MRR])
        parts = []
        if not shown.was_shown[clicked].all():
            parts.append("new items")
        if shown.is_new_user:
            parts.append("new users")
        if shown.slate.placement is not None:
            parts.append(self._placement(shown.slate.placement))
        self.result.add(values, parts)

    def _log_loss(self, scores: Float64, clicked: npt.NDArray[np.bool_], values: Float64) -> None:
        """Put down -log softmax of the clicked items, the mean of several, beside that of a random order."""
        with np.errstate(invalid="ignore"):
            lost = np.logaddexp.reduce(scores) - scores[clicked]
        if np.isfinite(lost).all():
            values[0, -1] = lost.mean()
            if self._simple is not None:
                values[-1, -1] = np.log(scores.size)
        self.result.unscored += int(np.count_nonzero(~np.isfinite(lost)))

    def _placement(self, placement: str) -> str:
        name = f"placement {placement}"
        n_placements = sum(each.startswith("placement ") for each in self.result.parts)
        return name if name in self.result.parts or n_placements < _MOST_PLACEMENTS else _OTHER
