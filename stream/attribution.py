"""Which place of a slate a click rewards, and by how much the reward changes."""

from __future__ import annotations

from math import fsum

from stream.join_settings import JoinSettings
from stream.outbox import Mark, OpenSlate, Outbox

__all__ = ["Attribution"]


class Attribution:
    """Joins clicks to the places of open slates: reward = sum of weight[kind] * value, within floor..cap.

    The floor is -cap, or the least weight where that lies below: what a client calls a value takes no more
    away than it may give.

    Of the clicks of one identity the largest (ts, event id, value) counts. The sum is rounded exactly, so it
    does not depend on the order in which they came.

    Args:
        settings: window, skew, weights, cap and the bound of clicks for one slate.
        counters: where the outcomes are counted; shared with the joiner.

    Example:
        >>> counters = {"joined": 0, "correction": 0}
        >>> attribution = Attribution(JoinSettings(), counters)
        >>> slate = OpenSlate(request_id="r", user_id="u", ts=6_000, items=["a", "b"])
        >>> outbox = Outbox()
        >>> attribution.fit(slate, (1_000, "", 1.0, "b", "click"), outbox)
        >>> attribution.fit(slate, (999, "", 1.0, "b", "click"), outbox)
        'out_of_window'
        >>> slate.rewards, outbox.take()[0].reward
        ({1: 1.0}, [1.0])
    """

    __slots__ = (
        "_cap",
        "_counters",
        "_floor",
        "_max_clicks",
        "_skew_ms",
        "_weights",
        "_window_ms",
        "n_marks",
    )

    def __init__(self, settings: JoinSettings, counters: dict[str, int]) -> None:
        self._window_ms, self._skew_ms = settings.window_ms, settings.skew_ms
        self._weights = settings.weights
        self._cap = settings.cap
        self._floor = settings.floor
        self._max_clicks = settings.max_clicks
        self._counters = counters
        self.n_marks = 0

    def worth(self, mark: Mark) -> float:
        """The reward of one click alone."""
        return max(self._floor, min(self._cap, self._weights[mark[4]] * mark[2]))

    def is_signal(self, kind: str) -> bool:
        """Whether clicks of this kind carry no reward at all: they are remembered, and taught to no sum."""
        return self._weights[kind] == 0.0

    def fit(self, slate: OpenSlate, mark: Mark, outbox: Outbox, *, is_new: bool = True) -> str | None:
        """Join a click to its place, or say with an outcome's name why it has none there.

        One that is not new has been joined before, and is no signal again.
        """
        ts, event_id, _, item_id, kind = mark
        if not -self._skew_ms <= ts - slate.ts <= self._window_ms:
            return "out_of_window"
        try:
            place = slate.items.index(item_id)
        except ValueError:
            return "not_in_slate"
        marks = slate.marks
        if marks is None:
            marks = slate.marks = {}
        name = event_id or (item_id, kind)
        old = marks.get(name)
        if old is None:
            if len(marks) >= self._max_clicks:
                self._counters["excess"] += 1
                return None
            self.n_marks += 1
            self._counters["joined"] += 1
        elif mark <= old:
            self._counters["duplicate" if mark == old else "superseded"] += 1
            return None
        else:
            self._counters["correction"] += 1
        marks[name] = mark
        if old is not None and old[3] != item_id:
            self._count(slate, slate.items.index(old[3]), ts, outbox, None)
        if self._weights[kind] == 0.0:
            if is_new:
                outbox.click(slate, place, 0.0, False, ts, kind=kind)
        else:
            self._count(slate, place, ts, outbox, kind)
        return None

    def put_aside(self, slate: OpenSlate, mark: Mark) -> None:
        """Keep a click that did not fit an undecided slate: its decision may hold a place for it."""
        if slate.aside is None:
            slate.aside = []
        if len(slate.aside) < self._max_clicks:
            slate.aside.append(mark)
            self.n_marks += 1

    def let_go(self, slate: OpenSlate) -> None:
        """A slate leaves, and the clicks kept for it do not count any more."""
        self.n_marks -= len(slate.marks or ()) + len(slate.aside or ())

    def upgrade(self, foreign: OpenSlate, decided: OpenSlate, outbox: Outbox) -> None:
        """Show a foreign slate again as decided, and join its clicks anew.

        What was counted for the foreign slate is taken back from sums; embeddings, which have learned these
        clicks, see no first click.
        """
        for place, reward in sorted(foreign.rewards.items()):
            outbox.click(foreign, place, -reward, False, foreign.ts, reward, None)
        outbox.shown(decided)
        self.let_go(foreign)
        marks = [*(foreign.marks or {}).values(), *(foreign.aside or ())]
        marks.sort(reverse=True)
        taught = self._taught(foreign)
        decided.taught = [
            at
            for place, item in enumerate(decided.items)
            for at in (place, ~place)
            if (item, at >= 0) in taught
        ]
        for mark in marks:
            self.fit(decided, mark, outbox, is_new=False)

    def _taught(self, slate: OpenSlate) -> set[tuple[str, bool]]:
        """Items of which a first positive (True) or a first dislike (False) has left."""
        items = slate.items
        taught = {(items[place], reward > 0) for place, reward in slate.rewards.items()}
        taught |= {(items[max(at, ~at)], at >= 0) for at in slate.taught or ()}
        return taught | {(mark[3], self.worth(mark) > 0) for mark in slate.aside or () if self.worth(mark)}

    def _count(self, slate: OpenSlate, place: int, ts: int, outbox: Outbox, kind: str | None) -> None:
        """Sum up the reward of a place and pass on how it changed by a click of `kind`, None: by its loss."""
        marks, weights, item_id = slate.marks or {}, self._weights, slate.items[place]
        if len(marks) == 1:  # nearly always, and the sum of one number is exact
            ((_, _, value, clicked, only),) = marks.values()
            total = weights[only] * value if clicked == item_id else 0.0
        else:
            total = fsum([weights[mark[4]] * mark[2] for mark in marks.values() if mark[3] == item_id])
        total = max(self._floor, min(self._cap, total))
        before = slate.rewards.get(place, 0.0)
        change = total - before
        if change == 0.0:
            return
        if total != 0.0:
            slate.rewards[place] = total
        else:
            del slate.rewards[place]
        outbox.click(slate, place, change, self._is_first(slate, place, before, total), ts, before, kind)

    def _is_first(self, slate: OpenSlate, place: int, before: float, total: float) -> bool:
        """Whether a reward rises above 0, or falls below 0, for the first time; remembers what it leaves."""
        if before > 0.0 >= total:
            slate.taught = [*(slate.taught or ()), place]
        elif before < 0.0 <= total:
            slate.taught = [*(slate.taught or ()), ~place]
        if total == 0.0 or before * total > 0.0:
            return False
        return (place if total > 0.0 else ~place) not in (slate.taught or ())
