"""JOIN: impressions, decisions and clicks become outcomes that can be learned, in any order of arrival."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import blake2b
from math import fsum, isfinite
from typing import Any

import msgspec

from stream.blocks import Segment
from stream.events import Click, Decision, Forget, Impression, ItemEvent, LoggedEvent, Tick
from stream.forget import ForgetBook
from stream.frame import Frame
from stream.outbox import Mark, OpenSlate, Outbox
from stream.slates import decided_slate, foreign_slate
from stream.window import Agenda

__all__ = ["OUTCOMES", "JoinSettings", "Joiner"]

OUTCOMES = {
    "shown": "slates that count as shown, whoever decided them",
    "foreign": "of these, slates without a decision of ours",
    "upgraded": "foreign slates whose decision came after them",
    "joined": "clicks that found their place",
    "organic": "clicks taught without a decision behind them",
    "correction": "clicks that replaced an older one of the same identity",
    "superseded": "clicks dropped because a newer one of the same identity was there",
    "duplicate": "events seen before",
    "conflicting_decision": "decisions under a request id that another decision holds",
    "late": "events older than the watermark less the allowed lateness",
    "orphan": "clicks whose slate never came",
    "out_of_window": "clicks before their slate or after its window",
    "not_in_slate": "clicks on an item that the slate does not hold",
    "unknown_kind": "clicks of a kind that has no weight",
    "unrewarded": "organic clicks of no value",
    "excess": "clicks beyond the bound of one slate",
    "closed": "slates whose window is over",
    "expired_decision": "decisions that were never shown",
    "forgotten": "events and slates dropped because their user asked for it",
    "items": "items as last sent",
    "forgets": "users to erase",
}
"""The counters of a `Joiner` and what each counts."""

_START = -(2**62)
_MARK = 2**60


class JoinSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How outcomes are joined; times in milliseconds.

    `window_ms`: how long after a slate a click still counts for it. `lateness_ms`: how far behind the watermark an
    event may be. `weights`: what a click of each kind is worth; other kinds are counted and dropped. `cap`: the
    largest reward of one place. `max_pending`, `max_seen`: see `Joiner.pressure`. `max_clicks`: clicks kept for one
    slate. `forget_horizon_ms`: how long a forget is remembered.
    """

    window_ms: int = 30 * 60_000
    lateness_ms: int = 10 * 60_000
    weights: dict[str, float] = msgspec.field(default_factory=lambda: {"click": 1.0})
    cap: float = 1.0
    max_pending: int = 200_000
    max_seen: int = 2_000_000
    max_clicks: int = 2_000
    forget_horizon_ms: int = 30 * 86_400_000

    def __post_init__(self) -> None:
        for name in (
            "window_ms",
            "lateness_ms",
            "max_pending",
            "max_seen",
            "max_clicks",
            "forget_horizon_ms",
        ):
            if getattr(self, name) < (0 if name.endswith("_ms") else 1):
                msg = f"join.{name} must not be negative, and a bound must be at least 1; got {getattr(self, name)}"
                raise ValueError(msg)
        if not self.cap > 0 or not all(map(isfinite, self.weights.values())):
            msg = f"join.cap must be above 0 and weights finite; got cap {self.cap}, weights {self.weights}"
            raise ValueError(msg)


def _digest(*parts: str | int) -> bytes:
    """Sixteen bytes that stand for an identity, so that no id has to be kept."""
    return blake2b(msgspec.msgpack.encode(parts), digest_size=16).digest()


class Joiner:
    """Joins what was shown with what was clicked; the words are those of the design, section 2.

    A plain machine: events and ticks in, segments out, no input or output, no clock. What counts is the set of
    events, not their order: as long as every event is within the allowed lateness when it arrives, decided slates
    are shown with the same context and each of their places ends with the same reward.

    Choices made here:

    * An impression without a decision is shown at once, as somebody else's. If its decision still comes (from
      another worker's log), the rewards counted so far are taken back, the slate is shown again as decided, and
      the clicks are joined to it with ``first`` false, so that policies and other sums end as if the decision
      had been there first.
    * An `explicit` decision and its impression belong together when their times differ by at most the window.
    * A window closes when the watermark is *beyond* ts + window + lateness: a click that can still be in
      time always finds its slate.
    * A click waits for its slate until no slate that could hold it can come any more.
    * Clicks that a slate's window does not hold never compete with those it holds.

    Grows with the slates of the last window + lateness, at most `max_pending`, and with clicks and identities
    of the last lateness, at most `max_seen`, if the door refuses events when `pressure` reaches 1; the joiner
    itself never drops anything to save memory (but see `max_clicks`).

    Args:
        settings: windows, weights and bounds.
        forgotten: who asked to be forgotten; shared with whoever else must know.

    Example:
        >>> joiner = Joiner(JoinSettings(), ForgetBook(b"sixteen bytes or more"))
        >>> joiner.on_event(Click(ts=2_000, item_id="b", request_id="r"))
        >>> joiner.on_event(Decision(request_id="r", ts=1_000, user_id="u", items=["a", "b"],
        ...                          propensities=[0.9, 0.5], policy="linucb"))
        >>> [block] = joiner.take()
        >>> block.kind, block.place, block.reward, block.slates[0].rewards
        ([0, 1], [-1, 1], [0.0, 1.0], {1: 1.0})
        >>> joiner.on_tick(1_001 + 40 * 60_000)
        >>> joiner.take()[0].kind, joiner.counters["closed"]
        ([2], 1)
    """

    def __init__(self, settings: JoinSettings, forgotten: ForgetBook) -> None:
        self.settings = settings
        self.forgotten = forgotten
        self.counters = dict.fromkeys(OUTCOMES, 0)
        self.watermark = _START
        self._clear()
        self._handlers: dict[type, Callable[[Any], None]] = {
            Impression: self._on_impression,
            Click: self._on_click,
            ItemEvent: self._on_item,
            Forget: self._on_forget,
            Decision: self._on_decision,
            Tick: lambda tick: self.on_tick(tick.ts),
        }

    def _clear(self) -> None:
        self._horizon = _START  # events before it are late
        self._outbox = Outbox()
        self._open: dict[str, OpenSlate] = {}
        self._closing: Agenda[OpenSlate] = Agenda()
        self._unshown: dict[str, Decision] = {}
        self._expiring: Agenda[Decision] = Agenda()
        self._waiting: dict[str, dict[Mark, str | None]] = {}
        self._orphaning: Agenda[tuple[str, Mark]] = Agenda()
        self._n_waiting = 0
        self._seen: dict[bytes, str] = {}
        self._unseeing: Agenda[bytes] = Agenda()
        self._erased: dict[bytes, int] = {}
        self._n_marks = 0

    def on_event(self, event: LoggedEvent) -> None:
        """Take one event, or a tick, in log order."""
        self._handlers[type(event)](event)

    def on_events(self, events: Iterable[LoggedEvent]) -> None:
        """Take events in log order; the same as one after the other."""
        handlers = self._handlers
        for event in events:
            handlers[type(event)](event)

    def take(self) -> list[Segment]:
        """The outcomes since the last call, in order."""
        return self._outbox.take()

    @property
    def pressure(self) -> float:
        """Share of the memory bounds in use; at 1 the door must refuse events until windows have closed."""
        settings = self.settings
        pending = (len(self._open) + len(self._unshown)) / settings.max_pending
        return max(pending, (len(self._seen) + self._n_waiting + self._n_marks) / settings.max_seen)

    @property
    def full(self) -> bool:
        """Whether a memory bound is reached."""
        return self.pressure >= 1.0

    # What was shown

    def _on_decision(self, decision: Decision) -> None:
        if not self._admits(decision):
            return
        request_id = decision.request_id
        there = self._unshown.get(request_id)
        slate = self._open.get(request_id)
        if there is not None or (slate is not None and slate.decided):
            self._count_second(decision, there, slate)
        elif decision.auto:
            self._show(decided_slate(decision), slate)
        elif slate is None:
            self._unshown[request_id] = decision
            self._expiring.add(decision.ts, decision)
        elif abs(slate.ts - decision.ts) <= self.settings.window_ms:
            self._show(decided_slate(decision, slate.ts, slate.items), slate)
        else:
            self.counters["expired_decision"] += 1

    def _count_second(self, decision: Decision, there: Decision | None, slate: OpenSlate | None) -> None:
        """A second decision under one id: the same again, or a conflict that is never evaluated."""
        if there is not None:
            same = there == decision
        else:
            same = slate is not None and set(slate.items) <= set(decision.items)
        self.counters["duplicate" if same else "conflicting_decision"] += 1

    def _on_impression(self, impression: Impression) -> None:
        if not self._admits(impression):
            return
        request_id = impression.request_id
        if request_id in self._open:
            self.counters["duplicate"] += 1
            return
        decision = self._unshown.pop(request_id, None)
        if decision is not None and abs(impression.ts - decision.ts) <= self.settings.window_ms:
            self._show(decided_slate(decision, impression.ts, impression.items), None)
            return
        if decision is not None:
            self.counters["expired_decision"] += 1
        self.counters["foreign"] += 1
        self._show(foreign_slate(impression), None)

    def _admits(self, event: Decision | Impression) -> bool:
        """Whether a slate is in time and its user not forgotten."""
        if event.ts < self._horizon:
            self.counters["late"] += 1
            return False
        if self.forgotten.covers(event.user_id, event.ts):
            self.counters["forgotten"] += 1
            self._erase(event.request_id, event.ts)
            return False
        return True

    def _show(self, slate: OpenSlate, foreign: OpenSlate | None) -> None:
        """Count a slate as shown, in place of a foreign one if that was first, and join what waited for it."""
        request_id = slate.request_id
        self._open[request_id] = slate
        self._closing.add(slate.ts, slate)
        if foreign is None:
            self.counters["shown"] += 1
            self._outbox.shown(slate)
        else:
            self._upgrade(slate, foreign)
        waiting = self._waiting.pop(request_id, None)
        if waiting is not None:
            self._n_waiting -= len(waiting)
            # The largest first, so that those it supersedes never leave.
            for mark in sorted(waiting, reverse=True):
                self._attach(slate, mark, waiting[mark])

    def _upgrade(self, slate: OpenSlate, foreign: OpenSlate) -> None:
        self.counters["upgraded"] += 1
        for place, reward in sorted(foreign.rewards.items()):
            self._outbox.click(foreign, place, -reward, False, foreign.ts)
        self._outbox.shown(slate)
        marks = [*(foreign.marks or {}).values(), *(foreign.aside or ())]
        self._n_marks -= len(marks)
        # All of these have taught the embeddings already.
        clicked = {mark[3] for mark in marks}
        slate.taught = [place for place, item in enumerate(slate.items) if item in clicked]
        for mark in sorted(marks, reverse=True):
            self._fit(slate, mark)

    # What was clicked

    def _on_click(self, click: Click) -> None:
        ts = click.ts
        if ts < self._horizon:
            self.counters["late"] += 1
            return
        user_id, request_id = click.user_id, click.request_id
        if user_id is not None and self.forgotten.covers(user_id, ts):
            self.counters["forgotten"] += 1
            return
        kind = "click" if click.kind is None else click.kind
        if kind not in self.settings.weights:
            self.counters["unknown_kind"] += 1
            return
        event_id = click.event_id or ""
        if event_id and self._is_again(_digest("event", event_id), ts, request_id):
            return
        mark = (ts, event_id, 1.0 if click.value is None else click.value, click.item_id, kind)
        if request_id is None:
            if event_id or not self._is_again(
                _digest("organic", user_id or "", click.item_id, kind, ts), ts, None
            ):
                self._teach_organic(mark, user_id)
            return
        slate = self._open.get(request_id)
        if slate is not None:
            self._attach(slate, mark, user_id)
        elif self._erased and _digest(request_id) in self._erased:
            self.counters["forgotten"] += 1
        else:
            self._wait(request_id, mark, user_id)

    def _is_again(self, identity: bytes, ts: int, request_id: str | None) -> bool:
        """Whether an identity was seen, then counted; else it is from now on, until `ts` is late.

        An attributed click with an event id comes again for its own request only to be compared there.
        """
        scope = "" if request_id is None else "r" + request_id
        before = self._seen.get(identity)
        if before is None:
            self._seen[identity] = scope
            self._unseeing.add(ts, identity)
            return False
        if scope and before == scope:
            return False
        self.counters["duplicate"] += 1
        return True

    def _teach_organic(self, mark: Mark, user_id: str | None) -> None:
        if user_id is None:
            return
        settings = self.settings
        reward = min(settings.cap, settings.weights[mark[4]] * mark[2])
        if reward == 0.0:
            self.counters["unrewarded"] += 1
            return
        self.counters["organic"] += 1
        self._outbox.organic(user_id, mark[3], reward, mark[0])

    def _wait(self, request_id: str, mark: Mark, user_id: str | None) -> None:
        waiting = self._waiting.setdefault(request_id, {})
        if mark in waiting:
            self.counters["duplicate"] += 1
        elif len(waiting) >= self.settings.max_clicks:
            self.counters["excess"] += 1
        else:
            waiting[mark] = user_id
            self._n_waiting += 1
            self._orphaning.add(mark[0], (request_id, mark))

    def _attach(self, slate: OpenSlate, mark: Mark, user_id: str | None) -> None:
        """Join a click to its slate, or teach it as organic where it does not fit."""
        misfit = self._fit(slate, mark)
        if misfit is None:
            return
        ts, event_id, _, item_id, kind = mark
        if self._is_again(_digest("misfit", slate.request_id, event_id, item_id, kind), ts, None):
            return
        self.counters[misfit] += 1
        if not slate.decided and len(slate.aside or ()) < self.settings.max_clicks:
            slate.aside = [*(slate.aside or ()), mark]
            self._n_marks += 1
        self._teach_organic(mark, user_id)

    def _fit(self, slate: OpenSlate, mark: Mark) -> str | None:
        """Join a click to a place; the outcome's name where it has none."""
        ts, event_id, _, item_id, kind = mark
        if not 0 <= ts - slate.ts <= self.settings.window_ms:
            return "out_of_window"
        if item_id not in slate.items:
            return "not_in_slate"
        marks = slate.marks
        if marks is None:
            marks = slate.marks = {}
        identity = event_id or (item_id, kind)
        old = marks.get(identity)
        if old is None:
            if len(marks) >= self.settings.max_clicks:
                self.counters["excess"] += 1
                return None
            self._n_marks += 1
            self.counters["joined"] += 1
        elif mark <= old:
            self.counters["duplicate" if mark == old else "superseded"] += 1
            return None
        else:
            self.counters["correction"] += 1
        marks[identity] = mark
        if old is not None and old[3] != item_id:
            self._reward(slate, old[3], ts)
        self._reward(slate, item_id, ts)
        return None

    def _reward(self, slate: OpenSlate, item_id: str, ts: int) -> None:
        """Count the reward of an item's place anew and pass on how it changed."""
        weights = self.settings.weights
        # An exactly rounded sum does not depend on the order in which the clicks came.
        total = fsum(
            weights[mark[4]] * mark[2] for mark in (slate.marks or {}).values() if mark[3] == item_id
        )
        total = min(self.settings.cap, total)
        place = slate.items.index(item_id)
        rewards = slate.rewards
        before = rewards.get(place)
        change = total - (before or 0.0)
        if change == 0.0:
            return
        taught = slate.taught
        first = before is None and (taught is None or place not in taught)
        if total == 0.0:
            del rewards[place]
            if taught is None:
                slate.taught = [place]
            elif place not in taught:
                taught.append(place)
        else:
            rewards[place] = total
        self._outbox.click(slate, place, change, first, ts)

    # Items, forgets and time

    def _on_item(self, event: ItemEvent) -> None:
        self.counters["items"] += 1
        self._outbox.item(event)

    def _on_forget(self, forget: Forget) -> None:
        user_id, ts = forget.user_id, forget.ts
        self.counters["forgets"] += 1
        self.forgotten.add(user_id, ts)
        for slate in [s for s in self._open.values() if s.user_id == user_id and s.ts <= ts]:
            del self._open[slate.request_id]
            self._n_marks -= len(slate.marks or ()) + len(slate.aside or ())
            self._erase(slate.request_id, slate.ts)
            self.counters["forgotten"] += 1
        for decision in [d for d in self._unshown.values() if d.user_id == user_id and d.ts <= ts]:
            del self._unshown[decision.request_id]
            self._erase(decision.request_id, decision.ts)
            self.counters["forgotten"] += 1
        self._forget_waiting(user_id, ts)
        self._outbox.forgotten(user_id, ts)

    def _forget_waiting(self, user_id: str, ts: int) -> None:
        for request_id, waiting in list(self._waiting.items()):
            gone = [mark for mark, who in waiting.items() if who == user_id and mark[0] <= ts]
            for mark in gone:
                self._unwait(request_id, mark)
            self.counters["forgotten"] += len(gone)

    def _unwait(self, request_id: str, mark: Mark) -> None:
        waiting = self._waiting[request_id]
        del waiting[mark]
        self._n_waiting -= 1
        if not waiting:
            del self._waiting[request_id]

    def _erase(self, request_id: str, ts: int) -> None:
        """Remember that this request's outcomes are to be dropped, as long as its clicks can come."""
        self._erased[_digest(request_id)] = ts + self.settings.window_ms
        for mark in list(self._waiting.get(request_id, ())):
            self._unwait(request_id, mark)
            self.counters["forgotten"] += 1

    def on_tick(self, ts: int) -> None:
        """Time has reached `ts` ms: give up waiting, close windows, forget identities. Never goes back."""
        if ts <= self.watermark:
            return
        self.watermark = ts
        self._horizon = horizon = ts - self.settings.lateness_ms
        opened_before = horizon - self.settings.window_ms
        self._give_up(horizon)
        self._close(opened_before)
        for _, decision in self._expiring.due(opened_before):
            if self._unshown.get(decision.request_id) is decision:
                del self._unshown[decision.request_id]
                self.counters["expired_decision"] += 1
        for _, identity in self._unseeing.due(horizon):
            self._seen.pop(identity, None)
        if self._erased:
            self._erased = {name: until for name, until in self._erased.items() if until >= horizon}
        self.forgotten.prune(ts - self.settings.forget_horizon_ms)

    def _give_up(self, horizon: int) -> None:
        due = self._orphaning.due(horizon)
        due.sort()
        for _, (request_id, mark) in due:
            waiting = self._waiting.get(request_id)
            if waiting is not None and mark in waiting:
                user_id = waiting[mark]
                self._unwait(request_id, mark)
                self.counters["orphan"] += 1
                self._teach_organic(mark, user_id)

    def _close(self, opened_before: int) -> None:
        due = self._closing.due(opened_before)
        due.sort(key=lambda pair: (pair[0], pair[1].request_id))
        window_ms = self.settings.window_ms
        for ts, slate in due:
            if self._open.get(slate.request_id) is slate:
                del self._open[slate.request_id]
                self._n_marks -= len(slate.marks or ()) + len(slate.aside or ())
                self.counters["closed"] += 1
                self._outbox.closed(slate, ts + window_ms)

    # State

    def snapshot(self) -> Frame:
        """Everything but the outcomes that were not taken yet, and the forget book."""
        return {
            "watermark": self.watermark,
            "counters": dict(self.counters),
            "open": [slate.stored() for slate in self._open.values()],
            "unshown": [msgspec.to_builtins(d, builtin_types=(bytes,)) for d in self._unshown.values()],
            "waiting": [
                [request_id, user_id, *mark]
                for request_id, waiting in self._waiting.items()
                for mark, user_id in waiting.items()
            ],
            "seen": [[ts, identity, self._seen[identity]] for ts, identity in self._unseeing],
            "erased": list(self._erased.items()),
        }

    def restore(self, frame: Frame) -> None:
        """Become the joiner that `snapshot` described, with the settings of this one."""
        self._clear()
        self.watermark = frame["watermark"]
        self._horizon = _START if self.watermark == _START else self.watermark - self.settings.lateness_ms
        self.counters = dict.fromkeys(OUTCOMES, 0) | dict(frame["counters"])
        for stored in frame["open"]:
            slate = _revived(stored)
            self._open[slate.request_id] = slate
            self._closing.add(slate.ts, slate)
            self._n_marks += len(slate.marks or ()) + len(slate.aside or ())
        for stored in frame["unshown"]:
            decision = msgspec.convert(stored, Decision)
            self._unshown[decision.request_id] = decision
            self._expiring.add(decision.ts, decision)
        for request_id, user_id, *mark in frame["waiting"]:
            self._wait(request_id, tuple(mark), user_id)
        for ts, identity, scope in frame["seen"]:
            self._seen[identity] = scope
            self._unseeing.add(ts, identity)
        self._erased = {name: until for name, until in frame["erased"]}


def _revived(stored: dict[str, Any]) -> OpenSlate:
    fields = dict(stored)
    marks: list[Mark] = [tuple(mark) for mark in fields.pop("marks")]
    aside: list[Mark] = [tuple(mark) for mark in fields.pop("aside")]
    rewards = {place: reward for place, reward in fields.pop("rewards")}
    taught = fields.pop("taught")
    slate = OpenSlate(**fields, rewards=rewards)
    slate.marks = {mark[1] or (mark[3], mark[4]): mark for mark in marks} or None
    slate.aside, slate.taught = aside or None, taught or None
    return slate
