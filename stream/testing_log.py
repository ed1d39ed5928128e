"""The contract of event logs, and a small honest step to drive engines with.

Inherit `EventLogContract` and give it a `log` fixture; whatever keeps the contract can carry the engine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest

from stream.events import Click, Forget, LoggedEvent
from stream.frame import Frame
from stream.log import EventLog, Record

__all__ = ["CountingStep", "EventLogContract", "clicks"]


def clicks(first: int, n: int, *, accepted_at: int, user_id: str = "ann", backfill: bool = False) -> Record:
    """A record of `n` organic clicks with event ids ``e<first>``, … and `ts` equal to `accepted_at`."""
    events = [
        Click(ts=accepted_at, item_id=f"i{number % 97}", user_id=user_id, event_id=f"e{number}")
        for number in range(first, first + n)
    ]
    return Record("events", msgspec.json.encode(events), accepted_at, backfill)


class CountingStep:
    """A step whose state depends on every event, every tick and their order, bit for bit.

    It counts clicks by item, remembers each event id, and folds everything into one float sum that is not
    associative and one running hash; `take` gives the counts that changed.

    Example:
        >>> step = CountingStep()
        >>> step.on_events([Click(ts=5, item_id="i1", user_id="ann", event_id="e1")])
        >>> step.take()
        {'counts': {'i1': 1}}
    """

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.seen: dict[str, int] = {}
        self.users: dict[str, int] = {}
        self.sum = np.float32(0)
        self.digest = b""
        self._touched: dict[str, None] = {}

    def on_events(self, events: Sequence[LoggedEvent], *, backfill: bool = False) -> None:
        """Fold events in."""
        for event in events:
            self._fold(f"{type(event).__name__}{event.ts}{backfill}")
            if isinstance(event, Click):
                self.counts[event.item_id] = self.counts.get(event.item_id, 0) + 1
                self._touched[event.item_id] = None
                self.sum = self.sum * np.float32(0.999) + np.float32(event.ts % 1_000 / 7)
                if event.event_id is not None:
                    self.seen[event.event_id] = self.seen.get(event.event_id, 0) + 1
                if event.user_id is not None:
                    self.users[event.user_id] = event.ts
            elif isinstance(event, Forget):
                self.users.pop(event.user_id, None)

    def on_tick(self, now_ms: int, *, backfill: bool = False) -> None:
        """Fold a tick in."""
        self._fold(f"tick{now_ms}{backfill}")

    def _fold(self, text: str) -> None:
        self.digest = hashlib.blake2b(self.digest + text.encode(), digest_size=16).digest()

    def take(self) -> Frame:
        """Counts of the items touched since the last call."""
        touched, self._touched = self._touched, {}
        return {"counts": {item: self.counts[item] for item in touched}}

    def snapshot(self) -> Frame:
        """All of it."""
        frame: dict[str, Any] = {"counts": dict(self.counts), "seen": dict(self.seen), "digest": self.digest}
        return {**frame, "users": dict(self.users), "sum": np.array([self.sum], np.float32)}

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described."""
        self.counts, self.seen, self.users = dict(frame["counts"]), dict(frame["seen"]), dict(frame["users"])
        self.sum, self.digest, self._touched = np.float32(frame["sum"][0]), bytes(frame["digest"]), {}


class EventLogContract:
    """What every event log promises; inherit and provide the fixture `log`, an empty log."""

    @pytest.fixture
    def log(self) -> EventLog:
        """The log under test."""
        raise NotImplementedError

    def test_an_empty_log_ends_at_zero(self, log: EventLog) -> None:
        assert log.end() == 0
        assert log.read(0, 10) == []

    def test_records_come_back_in_order_as_they_were(self, log: EventLog) -> None:
        records = [clicks(0, 2, accepted_at=5), clicks(2, 1, accepted_at=6, backfill=True)]
        positions = log.append(records)
        read = log.read(0, 10)
        assert [record._replace(pos=0) for record in read] == records
        assert [record.pos for record in read] == positions == sorted(positions)
        assert log.end() == positions[-1]

    def test_reading_goes_on_behind_a_position(self, log: EventLog) -> None:
        positions = log.append([clicks(n, 1, accepted_at=n) for n in range(10)])
        assert [record.pos for record in log.read(positions[3], 4)] == positions[4:8]
        assert log.read(positions[-1], 4) == []

    def test_a_read_stops_at_its_bound_of_bytes_and_gives_at_least_one(self, log: EventLog) -> None:
        log.append([clicks(n, 50, accepted_at=n) for n in range(10)])
        assert len(log.read(0, 10, max_bytes=1)) == 1
        assert 1 < len(log.read(0, 10, max_bytes=9_000)) < 10

    def test_the_first_decision_of_a_request_is_found(self, log: EventLog) -> None:
        first = Record("decision", b'{"n":1}', 5, request_id="r")
        log.append([first], durable=False)
        log.append([first._replace(body=b'{"n":2}')], durable=False)
        assert log.find_decision("r") == b'{"n":1}'
        assert log.find_decision("other") is None

    def test_accepted_at_never_falls(self, log: EventLog) -> None:
        log.append([clicks(0, 1, accepted_at=9), clicks(1, 1, accepted_at=4)])
        log.append([clicks(2, 1, accepted_at=7)])
        assert [record.accepted_at for record in log.read(0, 10)] == [9, 9, 9]

    def test_appending_nothing_changes_nothing(self, log: EventLog) -> None:
        assert log.append([]) == []
        assert log.end() == 0
