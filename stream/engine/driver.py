"""Feeds records and ticks into a step; the same for live running and for recovery.

Wall clock: a live record's time is its `accepted_at`, so a backlog is lived through at the pace at which it
was accepted, and nothing in it is late only because the learner was away; once every source is at its end,
the wall clock itself ticks, and that tick is committed in the merge order. Event clock (and backfill always):
time is the largest `ts` so far; in history, of what people did: an item may be described later. Ticks that
follow from the records are not recorded, the tickers' state is in the snapshot.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from stream.codec import decode_learned
from stream.dead_letters import DeadLetter
from stream.engine.ticker import Ticker
from stream.errors import EventError, LogError, PartError
from stream.events import EVENT_SCHEMA, Forget, LoggedEvent
from stream.frame import Frame
from stream.lateness import BEHAVIOUR
from stream.log import DAMAGED, Record
from stream.step import Measured, Step

__all__ = ["ClockMode", "Driver"]

ClockMode = Literal["wall", "event"]


class Driver:
    """Drives one step through one sequence of records and ticks.

    How the sequence is cut into calls of `flush` changes nothing. `forgets` and `letters` gather what the
    caller has to commit besides the step's outputs.
    """

    def __init__(self, step: Step, mode: ClockMode, tick_ms: int) -> None:
        self._step = step
        self._mode = mode
        self._tickers = {False: Ticker(tick_ms), True: Ticker(tick_ms)}
        self._measured = step if isinstance(step, Measured) else None
        self._batch: list[LoggedEvent] = []
        self._place = "the first record"
        self._accepted: list[int] = []
        self._backfill = False
        self.forgets: list[tuple[str, int]] = []
        """User and ts of each forget since this list was last emptied."""
        self.letters: list[DeadLetter] = []
        """Records that could not be decoded, likewise."""

    @property
    def watermark(self) -> int:
        """Time of the last live tick, 0 before the first."""
        return max(0, self._tickers[False].last)

    def feed(self, source: str, record: Record) -> None:
        """Take one record; what cannot be decoded becomes a dead letter.

        Raises:
            LogError: a newer program wrote it.
        """
        self._place = f"{source}/{record.pos}"
        if record.damaged:
            self._bury(source, record, DAMAGED)
            return
        if record.schema > EVENT_SCHEMA:
            msg = (
                f"{source}/{record.pos} has event schema {record.schema}, this program reads {EVENT_SCHEMA}; "
                "use the program that wrote it"
            )
            raise LogError(msg)
        if record.backfill is not self._backfill:
            self.flush()
            self._backfill = record.backfill
        by_event = record.backfill or self._mode == "event"
        if not by_event:
            self._tick(self._tickers[False].due(record.accepted_at), backfill=False)
        try:
            events = decode_learned(record.body, record.schema)
        except EventError as error:
            self._bury(source, record, str(error))
            return
        if by_event:
            self._feed_by_event(events, record)
        else:
            self._batch.extend(events)
            if self._measured is not None:
                self._accepted.extend([_measured_at(record)] * len(events))
        for event in events:
            if type(event) is Forget:
                self.forgets.append((event.user_id, event.ts))

    def _bury(self, source: str, record: Record, reason: str) -> None:
        place = f"{source}/{record.pos}"
        self.letters.append(DeadLetter(record.accepted_at, reason, place, record.body))

    def _feed_by_event(self, events: list[LoggedEvent], record: Record) -> None:
        ticker = self._tickers[record.backfill]
        due = ticker.next
        for event in events:
            # In history an item's time says when it was described, which is often the day of the export.
            if event.ts >= due and not (self._backfill and not isinstance(event, BEHAVIOUR)):
                self._tick(ticker.due(event.ts), backfill=self._backfill)
                due = ticker.next
            self._batch.append(event)
            if self._measured is not None:
                self._accepted.append(_measured_at(record))

    def wall_tick(self, now: int) -> int | None:
        """The tick due at wall time `now` when nothing is left to read; given to the step. Wall mode only."""
        if self._mode == "event":
            return None
        ts = self._tickers[False].due(now)
        self._tick(ts, backfill=False)
        return ts

    def _tick(self, ts: int | None, *, backfill: bool) -> None:
        if ts is not None:
            self.flush()
            with self._naming_the_place():
                self._step.on_tick(ts, backfill=backfill)

    def flush(self) -> None:
        """Hand the step what has gathered."""
        if self._batch:
            batch, self._batch = self._batch, []
            if self._measured is not None:
                self._measured.accepted(self._accepted)
                self._accepted = []
            with self._naming_the_place():
                self._step.on_events(batch, backfill=self._backfill)

    @contextmanager
    def _naming_the_place(self) -> Iterator[None]:
        try:
            yield
        except PartError as error:
            msg = f"in records up to {self._place}: {error}"
            raise PartError(msg) from error

    def snapshot(self) -> Frame:
        """Where the tickers stand; call it after `flush`."""
        return {"live": self._tickers[False].last, "backfill": self._tickers[True].last}

    def rewind(self, now_ms: int) -> None:
        """Time was ahead of the wall clock: it is `now_ms`."""
        for ticker in self._tickers.values():
            ticker.last = min(ticker.last, now_ms // ticker.tick_ms * ticker.tick_ms)

    def restore(self, frame: Frame) -> None:
        """Put the tickers back."""
        self._tickers[False].last, self._tickers[True].last = frame["live"], frame["backfill"]


def _measured_at(record: Record) -> int:
    """When its events were accepted; history is no measure of how fresh rows are."""
    return 0 if record.backfill else record.accepted_at
