"""JOIN: impressions, decisions and clicks become outcomes that can be learned, in any order of arrival."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from stream.attribution import Attribution
from stream.blocks import Segment, Slate
from stream.events import (
    Click,
    Decision,
    Forget,
    Impression,
    ItemEvent,
    LearnedDecision,
    LearnedImpression,
    LoggedEvent,
    Tick,
)
from stream.forget import ForgetBook
from stream.frame import Frame
from stream.join_settings import OUTCOMES, JoinSettings
from stream.outbox import (
    Mark,
    OpenSlate,
    Outbox,
    revive_slates,
    store_context,
    store_item_context,
    store_slates,
    weight_of,
)
from stream.seen import Seen, identity
from stream.slates import decided_slate, foreign_slate
from stream.waiting import Waiting
from stream.window import Agenda

__all__ = ["OUTCOMES", "JoinSettings", "Joiner"]

_START = -(2**62)
_MARK_BYTES = 400


class Joiner:
    """Joins what was shown with what was clicked; the words are those of the reference page on events.

    A plain machine: events and ticks in, segments out, no input or output, no clock. What counts is the set
    of events, not their order: as long as every event is within the allowed lateness when it arrives, decided
    slates are shown with the same context and each of their places ends with the same reward.

    Choices made here:

    * An impression without a decision is shown at once, as somebody else's. If its decision still comes (from
      another worker's log), the rewards counted so far are taken back, the slate is shown again as decided,
      and the clicks are joined to it with ``first`` false: policies and other sums end as if the decision had
      been there first.
    * A decision and its impression belong together when their times differ by at most the window; further
      apart, one id was used twice, and an `explicit` decision expires.
    * A window closes when the watermark is *beyond* ts + window + lateness: a click that can still be in time
      always finds its slate.
    * A click counts for a slate from `skew_ms` before it to its window's end, for two clocks wrote the times.
    * A click waits for its slate until no slate that could hold it can come any more.
    * Clicks that a slate's window does not hold never compete with those it holds.

    Grows with the slates of the last window + lateness, at most `max_pending`, and with clicks and identities
    of the last lateness, at most `max_seen`, if the door refuses events when `pressure` reaches 1; the joiner
    itself never drops a slate or an identity to save memory. A forget looks through all that is pending.

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
        self._clear()
        self._handlers: dict[type, Callable[[Any], None]] = {
            Impression: self._on_impression,
            LearnedImpression: self._on_impression,
            Click: self._on_click,
            ItemEvent: self._on_item,
            Forget: self._on_forget,
            Decision: self._on_decision,
            LearnedDecision: self._on_decision,
            Tick: lambda tick: self.on_tick(tick.ts),
        }

    def _clear(self) -> None:
        self.watermark = _START
        self._horizon = _START  # events before it are late
        self._outbox = Outbox(self.settings.kinds)
        self._attribution = Attribution(self.settings, self.counters)
        self._n_bytes = 0  # of the slates and decisions below
        self._open: dict[str, OpenSlate] = {}
        self._closing: Agenda[OpenSlate] = Agenda()
        self._unshown: dict[str, Decision] = {}
        self._expiring: Agenda[Decision] = Agenda()
        self._waiting = Waiting(self.settings.max_clicks)
        self._seen = Seen()
        self._erased = Seen()

    def on_event(self, event: LoggedEvent) -> None:
        """Take one event, or a tick, in log order."""
        self._handlers[type(event)](event)

    def accepted(self, at: int) -> None:
        """The events that follow one by one were accepted at `at` (wall ms); 0: not known."""
        self._outbox.accepted_at = at

    def on_events(self, events: Iterable[LoggedEvent], accepted: Sequence[int] = ()) -> None:
        """Take events in log order; the same as one after the other.

        `accepted` says when each was, wall ms, 0 where that is not known: outcomes carry it on.
        """
        handlers, outbox = self._handlers, self._outbox
        if not accepted:
            for event in events:
                handlers[type(event)](event)
            return
        for event, outbox.accepted_at in zip(events, accepted, strict=True):
            handlers[type(event)](event)
        outbox.accepted_at = 0

    def take(self) -> list[Segment]:
        """The outcomes since the last call, in order."""
        return self._outbox.take()

    @property
    def pressure(self) -> float:
        """Share of the memory bounds in use; at 1 the door must refuse events until windows have closed."""
        settings = self.settings
        kept = len(self._seen) + len(self._erased) + len(self._waiting) + self._attribution.n_marks
        pending = len(self._open) + len(self._unshown)
        n_bytes = self._n_bytes + self._waiting.n_bytes + _MARK_BYTES * self._attribution.n_marks
        return max(
            pending / settings.max_pending,
            kept / settings.max_seen,
            n_bytes / (settings.max_pending_mb << 20),
        )

    @property
    def full(self) -> bool:
        """Whether a memory bound is reached."""
        return self.pressure >= 1.0

    # What was shown

    def _on_decision(self, decision: Decision) -> None:
        if not self._admits(decision):
            return
        request_id = decision.request_id
        if not decision.auto and not (decision.context is None and decision.item_context is None):
            # It may be kept for long: as JSON, and as a copy, for the event is not ours.
            decision = msgspec.structs.replace(decision, **_stored_contexts(decision))
        there = self._unshown.get(request_id)
        slate = self._open.get(request_id)
        if there is not None:
            self.counters["duplicate" if there == decision else "conflicting_decision"] += 1
        elif slate is not None and slate.decided:
            # Of the first decision only what was shown is left to compare with.
            same = set(slate.items) <= set(decision.items) and slate.policy == decision.policy
            self.counters["duplicate" if same else "conflicting_decision"] += 1
        elif decision.auto:
            self._show(decided_slate(decision), slate)
        elif slate is None:
            self._keep_unshown(decision)
        elif abs(slate.ts - decision.ts) <= self.settings.window_ms:
            self._show(decided_slate(decision, slate.ts, slate.items), slate)
        else:
            self.counters["expired_decision"] += 1

    def _on_impression(self, impression: Impression) -> None:
        if not self._admits(impression):
            return
        request_id = impression.request_id
        if request_id in self._open:
            self.counters["duplicate"] += 1
            return
        decision = self._drop_unshown(request_id)
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
            self._erase(event.request_id, event.ts, event.items)
            return False
        return True

    def _show(self, slate: OpenSlate, foreign: OpenSlate | None) -> None:
        """Count a slate as shown, in place of a foreign one if that came first; join what waited for it."""
        self._keep(slate)
        if foreign is None:
            self.counters["shown"] += 1
            self._outbox.shown(slate)
        else:
            self.counters["upgraded"] += 1
            self._n_bytes -= foreign.n_bytes
            self._attribution.upgrade(foreign, slate, self._outbox)
        if self._waiting:
            for mark, user_id in self._waiting.take(slate.request_id):
                self._attach(slate, mark, user_id)

    # What was clicked

    def _on_click(self, click: Click) -> None:
        ts, user_id, request_id = click.ts, click.user_id, click.request_id
        if ts < self._horizon:
            self.counters["late"] += 1
            return
        if user_id is not None and self.forgotten.covers(user_id, ts):
            self.counters["forgotten"] += 1
            return
        kind = click.kind or "click"
        if kind not in self.settings.weights:
            self.counters["unknown_kind"] += 1
            return
        event_id = click.event_id or ""
        mark = (ts, event_id, 1.0 if click.value is None else float(click.value), click.item_id, kind)
        if request_id is None and self._is_worthless(mark):
            # Not remembered: it must not stand in the way of one that is worth something.
            self.counters["unrewarded"] += 1
            return
        if (event_id or request_id is None) and self._is_repeated(click, event_id, kind):
            self.counters["duplicate"] += 1
            return
        slate = None if request_id is None else self._open.get(request_id)
        if slate is not None:
            self._attach(slate, mark, user_id)
        elif request_id is None:
            self._teach_organic(mark, user_id)
        elif self._erased and identity(request_id) in self._erased:
            self._attach_erased(request_id, mark, user_id)
        elif (outcome := self._waiting.add(request_id, mark, user_id)) is not None:
            self.counters[outcome] += 1

    def _is_repeated(self, click: Click, event_id: str, kind: str) -> bool:
        """Whether an identity came before; an attributed click without one is compared at its slate."""
        request_id = click.request_id
        if event_id:
            scope = "" if request_id is None else "r" + request_id
            before = self._seen.add(identity(event_id), click.ts, scope)
            return before is not None and not (scope and before == scope)
        name = identity(click.user_id or "", click.item_id, kind, click.ts)
        return self._seen.add(name, click.ts) is not None

    def _attach(self, slate: OpenSlate, mark: Mark, user_id: str | None) -> None:
        """Join a click to its slate, or teach it as organic where it does not fit."""
        misfit = self._attribution.fit(slate, mark, self._outbox)
        if misfit is None or self._is_copy(slate.request_id, mark):
            return
        self.counters[misfit] += 1
        if not slate.decided:
            self._attribution.put_aside(slate, mark)
        self._teach_organic(mark, user_id)

    def _attach_erased(self, request_id: str, mark: Mark, user_id: str | None) -> None:
        """Drop a click whose slate was erased; one that is newer than the forget and would not have fitted
        the slate is organic, as it is where JOIN still has that slate and the user's owner drops outcomes."""
        misfit = self._misfit_of_erased(request_id, mark)
        if misfit is None or (user_id is not None and self.forgotten.covers(user_id, mark[0])):
            self.counters["forgotten"] += 1
        elif not self._is_copy(request_id, mark):
            self.counters[misfit] += 1
            self._teach_organic(mark, user_id)

    def _misfit_of_erased(self, request_id: str, mark: Mark) -> str | None:
        """As `Attribution.fit` says it, from hashes of what the slate held; None where it fits."""
        shown_at = self._erased.scope_of(identity(request_id))
        if not shown_at:  # erased by a program that kept no more than the request
            return None
        if not -self.settings.skew_ms <= mark[0] - int(shown_at) <= self.settings.window_ms:
            return "out_of_window"
        return None if identity(request_id, mark[3]) in self._erased else "not_in_slate"

    def _is_copy(self, request_id: str, mark: Mark) -> bool:
        """Whether a click that did not fit came before; remembered as long as a copy of it can wait."""
        if self._seen.add(_misfit(request_id, mark), mark[0] + self.settings.skew_ms) is None:
            return False
        self.counters["duplicate"] += 1
        return True

    def _teach_organic(self, mark: Mark, user_id: str | None) -> None:
        if user_id is None:
            return
        if self._is_worthless(mark):
            self.counters["unrewarded"] += 1
            return
        self.counters["organic"] += 1
        self._outbox.organic(user_id, mark[3], self._attribution.worth(mark), mark[0], mark[4])

    def _is_worthless(self, mark: Mark) -> bool:
        """Whether a click of a kind that is rewarded has no value; one of weight 0 is a signal."""
        return self._attribution.worth(mark) == 0.0 and not self._attribution.is_signal(mark[4])

    # Items, forgets and time

    def _on_item(self, event: ItemEvent) -> None:
        self.counters["items"] += 1
        self._outbox.item(event)

    def _on_forget(self, forget: Forget) -> None:
        user_id, ts = forget.user_id, forget.ts
        self.counters["forgets"] += 1
        self.forgotten.add(user_id, ts)
        for slate in [s for s in self._open.values() if s.user_id == user_id and s.ts <= ts]:
            self._drop(slate)
            self._erase(slate.request_id, slate.ts, slate.items)
        for decision in [d for d in self._unshown.values() if d.user_id == user_id and d.ts <= ts]:
            self._drop_unshown(decision.request_id)
            self._erase(decision.request_id, decision.ts, decision.items)
        self.counters["forgotten"] += self._waiting.forget(user_id, ts)
        self._outbox.forgotten(user_id, ts)

    def _erase(self, request_id: str, ts: int, items: Sequence[str]) -> None:
        """Drop this request's outcomes, now and as long as its clicks can come."""
        until = ts + self.settings.window_ms
        self._erased.add(identity(request_id), until, str(ts))
        # Hashes, for whoever was forgotten: enough to tell a click on the slate from one beside it.
        for item_id in items:
            self._erased.add(identity(request_id, item_id), until)
        self.counters["forgotten"] += 1
        for mark, user_id in self._waiting.take(request_id):
            self._attach_erased(request_id, mark, user_id)

    def on_tick(self, ts: int) -> None:
        """Time has reached `ts` ms: give up waiting, close windows, drop identities. Never goes back."""
        if ts <= self.watermark:
            return
        self.watermark = ts
        # What time itself brings about was accepted at no time.
        accepted_at, self._outbox.accepted_at = self._outbox.accepted_at, 0
        self._horizon = horizon = ts - self.settings.lateness_ms
        for request_id, mark, user_id in self._waiting.due(horizon - self.settings.skew_ms):
            # A copy of it may have found its slate, did not fit, and was taught then.
            again = _misfit(request_id, mark) in self._seen
            self.counters["duplicate" if again else "orphan"] += 1
            if not again:
                self._teach_organic(mark, user_id)
        self._close(horizon - self.settings.window_ms)
        self._seen.expire(horizon)
        self._erased.expire(horizon)
        self.forgotten.prune(ts - self.settings.forget_horizon_ms)
        self._outbox.accepted_at = accepted_at

    def _close(self, opened_before: int) -> None:
        due = self._closing.due(opened_before)
        # In an order that does not depend on the order of arrival.
        due.sort(key=lambda pair: (pair[0], pair[1].request_id))
        for ts, slate in due:
            if self._open.get(slate.request_id) is slate:
                self._drop(slate)
                self.counters["closed"] += 1
                self._outbox.closed(slate, ts + self.settings.window_ms)
        for _, decision in self._expiring.due(opened_before):
            if self._unshown.get(decision.request_id) is decision:
                self._drop_unshown(decision.request_id)
                self.counters["expired_decision"] += 1

    # What is kept, and what it takes

    def _keep(self, slate: OpenSlate) -> None:
        self._open[slate.request_id] = slate
        self._closing.add(slate.ts, slate)
        slate.n_bytes = weight_of(slate)
        self._n_bytes += slate.n_bytes

    def weigh_again(self, slates: Iterable[Slate]) -> None:
        """These slates were learned as they were shown. What is known of their items was for that, and is
        dropped; features that they have got since take memory as long as they are open."""
        for shown in slates:
            shown.item_context = b""
            slate = self._open.get(shown.request_id)
            if slate is shown and slate is not None:
                self._n_bytes -= slate.n_bytes
                slate.n_bytes = weight_of(slate)
                self._n_bytes += slate.n_bytes

    def _drop(self, slate: OpenSlate) -> None:
        del self._open[slate.request_id]
        self._attribution.let_go(slate)
        self._n_bytes -= slate.n_bytes

    def _keep_unshown(self, decision: Decision) -> None:
        self._unshown[decision.request_id] = decision
        self._expiring.add(decision.ts, decision)
        self._n_bytes += weight_of(decision)

    def _drop_unshown(self, request_id: str) -> Decision | None:
        decision = self._unshown.pop(request_id, None)
        if decision is not None:
            self._n_bytes -= weight_of(decision)
        return decision

    def rewind(self, now_ms: int, latest_ms: int) -> None:
        """Time was wrong and is `now_ms`: what is later than `latest_ms` goes, whatever waits goes on."""
        if self.watermark <= latest_ms:
            return
        self._open = {name: slate for name, slate in self._open.items() if slate.ts <= latest_ms}
        self._unshown = {name: each for name, each in self._unshown.items() if each.ts <= latest_ms}
        frame = self.snapshot()
        for what, at in (("waiting", 2), ("seen", 0), ("erased", 0)):
            frame[what] = [each for each in frame[what] if each[at] <= latest_ms]
        self.restore(frame | {"watermark": now_ms})

    # State

    def snapshot(self) -> Frame:
        """Everything but the forget book and the outcomes that were not taken yet."""
        return {
            "watermark": self.watermark,
            "counters": dict(self.counters),
            "open": store_slates(self._open.values()),
            "unshown": [_store_decision(decision) for decision in self._unshown.values()],
            "waiting": self._waiting.snapshot(),
            "seen": self._seen.snapshot(),
            "erased": self._erased.snapshot(),
        }

    def restore(self, frame: Frame) -> None:
        """Become the joiner that `snapshot` described, with the settings of this one."""
        self.counters.update(dict.fromkeys(OUTCOMES, 0) | frame["counters"])
        self._clear()
        self.watermark = frame["watermark"]
        self._horizon = _START if self.watermark == _START else self.watermark - self.settings.lateness_ms
        for slate in revive_slates(frame["open"]):
            self._keep(slate)
            self._attribution.n_marks += len(slate.marks or ()) + len(slate.aside or ())
        for stored in frame["unshown"]:
            decision = msgspec.convert({**stored, "context": None, "item_context": None}, Decision)
            for name in ("context", "item_context"):
                msgspec.structs.force_setattr(decision, name, store_context(stored.get(name)))
            self._keep_unshown(decision)
        self._waiting.restore(frame["waiting"])
        self._seen.restore(frame["seen"])
        self._erased.restore(frame["erased"])


def _store_decision(decision: Decision) -> Frame:
    stored: Frame = msgspec.to_builtins(decision, builtin_types=(bytes,))
    return {**stored, **_stored_contexts(decision)}


def _stored_contexts(decision: Decision) -> dict[str, bytes | None]:
    context, items = store_context(decision.context), store_item_context(decision.item_context)
    return {"context": context, "item_context": items or None}


def _misfit(request_id: str, mark: Mark) -> bytes:
    return identity("misfit", request_id, *mark)
