"""Contract kit of the room: scripts of events, and what every step must pass.

Inherit from `StepContract` in a test module and say how to make the step.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np
import pytest

from stream.events import Click, Decision, Forget, Impression, ItemEvent, LoggedEvent, Tick
from stream.frame import pack, unpack
from stream.step import Step

__all__ = ["ScriptedEvents", "StepContract", "drive"]


class ScriptedEvents:
    """A repeatable stream with everything that a log may hold, in a believable order.

    Items first; then decisions, shown at once or by an impression, slates of others, clicks that follow, come
    early, come twice, come after the window, name no slate or another item, organic clicks, forgets, and a
    tick a second. Times start at `start_ms`.

    Example:
        >>> events = ScriptedEvents(seed=3).take(200)
        >>> len(events), sorted({type(event).__name__ for event in events})
        (200, ['Click', 'Decision', 'Forget', 'Impression', 'ItemEvent', 'Tick'])
        >>> events == ScriptedEvents(seed=3).take(200)
        True
    """

    def __init__(
        self,
        seed: int,
        *,
        n_users: int = 12,
        n_items: int = 30,
        slate: int = 5,
        n_features: int = 0,
        policy: str = "diag_lin_ucb",
        start_ms: int = 1_700_000_000_000,
    ) -> None:
        self._rng = np.random.default_rng(seed)
        self._n_users, self._n_items, self._slate = n_users, n_items, min(slate, n_items)
        self._n_features, self._policy = n_features, policy
        self._now = start_ms
        self._requests = 0
        self._order = 0
        self._due: list[tuple[int, int, LoggedEvent]] = []
        for item in range(n_items):
            self._put(0, ItemEvent(item_id=f"i{item}", ts=start_ms, group="ab"[item % 2]))

    def take(self, n: int) -> list[LoggedEvent]:
        """The next `n` events."""
        events: list[LoggedEvent] = []
        while len(events) < n:
            while self._due and self._due[0][0] <= self._now and len(events) < n:
                events.append(heapq.heappop(self._due)[2])
            if len(events) < n:
                self._step()
        return events

    def _put(self, delay_ms: int, event: LoggedEvent) -> None:
        self._order += 1
        heapq.heappush(self._due, (self._now + delay_ms, self._order, event))

    def _step(self) -> None:
        """Let some time pass and something happen."""
        before = self._now
        self._now += int(self._rng.integers(1, 400))
        if self._now // 1_000 > before // 1_000:
            self._put(0, Tick(ts=self._now // 1_000 * 1_000))
        what = self._rng.random()
        user = f"u{self._rng.integers(self._n_users)}"
        if what < 0.80:
            self._show(user, what)
        elif what < 0.97:
            item = f"i{self._rng.integers(self._n_items)}"
            self._put(0, Click(user_id=user, item_id=item, ts=self._now))
        else:
            self._put(0, Forget(user_id=user, ts=self._now - 500))

    def _show(self, user: str, what: float) -> None:
        self._requests += 1
        request, now = f"r{self._requests}", self._now
        chosen = self._rng.choice(self._n_items, self._slate, replace=False)
        items = [f"i{item}" for item in chosen]
        if what < 0.68:
            self._put(0, self._decision(request, user, items, auto=what < 0.52))
        # A few decisions are never shown, and a few clicks name a slate that nobody logs.
        if 0.54 < what < 0.78:
            seen = items[: int(self._rng.integers(1, self._slate + 1))]
            self._put(50, Impression(request_id=request, ts=now + 40, user_id=user, items=seen))
        for _ in range(int(self._rng.integers(3))):
            item = items[int(self._rng.integers(self._slate))]
            after = int(self._rng.choice([-5, 200, 3_000, 2_000_000], p=[0.1, 0.5, 0.35, 0.05]))
            click = Click(request_id=request, user_id=user, item_id=item, ts=now + 40 + after)
            for delay in (10, 5_000)[: 1 + int(self._rng.random() < 0.2)]:
                self._put(max(0, min(after, 3_000)) + delay, click)

    def _decision(self, request: str, user: str, items: list[str], *, auto: bool) -> Decision:
        features = self._rng.random((len(items) + 1, self._n_features), np.float32)
        return Decision(
            request_id=request,
            ts=self._now,
            user_id=user,
            items=items,
            propensities=[round(float(p), 3) for p in self._rng.uniform(0.01, 1.0, len(items))],
            policy=self._policy,
            clusters=[0, 1],
            weights=[0.75, 0.25],
            features=features.astype("<f4").tobytes(),
            others=["i0"],
            explored=[0],
            auto=auto,
        )


def drive(step: Step, events: Sequence[LoggedEvent], cut: int = 1_000_000) -> None:
    """Give a script to a step, at most `cut` events in one batch; ticks go where ticks belong."""
    batch: list[LoggedEvent] = []
    for event in events:
        if isinstance(event, Tick) or len(batch) >= cut:
            step.on_events(batch)
            batch = []
        if isinstance(event, Tick):
            step.on_tick(event.ts)
        else:
            batch.append(event)
    step.on_events(batch)


class StepContract:
    """What holds for every step; a subclass says how to make one."""

    def make_step(self) -> Step:
        """A new step; two of them are equal."""
        raise NotImplementedError

    def script(self) -> list[LoggedEvent]:
        """Events that reach much of the step; the last tick closes every window of half an hour."""
        events = ScriptedEvents(seed=1).take(400)
        return [*events, Tick(ts=events[-1].ts + 45 * 60_000)]

    @pytest.mark.parametrize("cut", [1, 7, 100])
    def test_batches_have_no_meaning(self, cut: int) -> None:
        whole, parts = self.make_step(), self.make_step()
        drive(whole, self.script())
        drive(parts, self.script(), cut)
        assert pack(parts.snapshot()) == pack(whole.snapshot())

    @pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 1.0])
    def test_it_resumes_anywhere(self, share: float) -> None:
        events = self.script()
        at = int(share * len(events))
        first = self.make_step()
        drive(first, events[:at])
        first.take()
        resumed = self.make_step()
        resumed.restore(unpack(pack(first.snapshot())))
        for step in (first, resumed):
            drive(step, events[at:])
        assert pack(resumed.take()) == pack(first.take())
        assert pack(resumed.snapshot()) == pack(first.snapshot())

    def test_a_snapshot_is_a_copy(self) -> None:
        events = self.script()
        step = self.make_step()
        drive(step, events[: len(events) // 2])
        frame = step.snapshot()
        before = pack(frame)
        drive(step, events[len(events) // 2 :])
        assert pack(frame) == before
