"""A thread that sends decisions from the outbox to the topic `events`."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import TimeoutError as NotYetError
from typing import NamedTuple

from serving.kafka.link import Link
from serving.kafka.outbox import DecisionOutbox
from stream.clock import Clock
from stream.codec import decode_logged
from stream.dead_letters import DeadLetter
from stream.errors import BrokerError, EventError, FreshetError
from stream.events import LoggedEvent
from stream.kafka.bundles import too_large
from stream.log import DAMAGED, Record

__all__ = ["Drain"]

_log = logging.getLogger(__name__)

_RECORDS = 1_000
_BYTES = 4 << 20
_POLL_S = 0.25
_TRIM_S = 60.0


class _Batch(NamedTuple):
    """What is sent at once: events, each as it stands in the outbox, and the position of the last."""

    events: list[LoggedEvent]
    raw: list[bytes]
    last: int


class Drain:
    """Sends in order, notes how far it is, goes on after brokers were away, and keeps the outbox in shape.

    What was sent and not noted, as by a killed process, is sent again: the joiner drops what it has seen.
    A decision larger than a record may be becomes a dead letter of the outbox.
    """

    def __init__(self, outbox: DecisionOutbox, link: Link, clock: Clock) -> None:
        self._outbox, self._link, self._clock = outbox, link, clock
        self._more = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="drain", daemon=True)
        self._trimmed_s = float("-inf")
        self._said = ""
        self.sent = 0

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it goes on."""
        return self._thread.is_alive()

    def notify(self) -> None:
        """There is something to send."""
        self._more.set()

    def finish(self, timeout_s: float) -> bool:
        """Wait until all is sent, at most so long; whether it is."""
        end_s = self._clock.monotonic_s() + timeout_s
        while self._outbox.n_waiting and self._clock.monotonic_s() < end_s and self._thread.is_alive():
            self._more.set()
            self._clock.sleep_s(0.01)
        return not self._outbox.n_waiting

    def stop(self) -> None:
        """End, after the batch that is on its way."""
        self._stop.set()
        self._more.set()
        if self._thread.is_alive():
            self._thread.join()

    def _loop(self) -> None:
        while not self._stop.is_set():
            try:
                self._outbox.relieve()
                if not self._link.wait_back(_POLL_S):
                    continue
                if not self._send():
                    self._trim()
                    self._more.wait(_POLL_S)
                    self._more.clear()
            except BrokerError as error:
                self._link.failed(error)
            except FreshetError as error:
                if self._said != (said := str(error)):
                    _log.warning("%s; decisions are sent a little later", said)
                self._said = said
                self._stop.wait(_POLL_S)

    def _send(self) -> bool:
        """Send the next batch; false when there is none."""
        records = self._outbox.waiting(_RECORDS, _BYTES)
        if not records:
            return False
        batch = self._batch(records)
        sent = self._link.producer().submit(batch.events, batch.raw)
        while True:
            try:
                sent.result(_POLL_S)
                break
            except NotYetError:
                if self._stop.is_set():
                    return True  # not noted, so the next start sends it again
        self._link.heard()
        self._outbox.sent(batch.last)
        self.sent += len(batch.raw)
        return True

    def _batch(self, records: list[Record]) -> _Batch:
        batch = _Batch([], [], records[-1].pos)
        for record in records:
            text = record.body[1:-1]  # an array of one decision
            try:
                if record.damaged:
                    raise EventError(DAMAGED)
                (event,) = decode_logged(record.body, record.schema)
            except (EventError, ValueError) as error:
                self._bury(record, str(error))
                continue
            if (reason := too_large(text)) is not None:
                self._bury(record, reason)
                continue
            batch.events.append(event)
            batch.raw.append(text)
        return batch

    def _bury(self, record: Record, reason: str) -> None:
        place = f"outbox/{record.pos}"
        _log.warning("%s: %s; it is not sent", place, reason)
        self._outbox.dead_letters.add([DeadLetter(record.accepted_at, reason, place, record.body)])

    def _trim(self) -> None:
        now_s = self._clock.monotonic_s()
        if now_s - self._trimmed_s >= _TRIM_S:
            self._trimmed_s = now_s
            self._outbox.trim(self._clock.now_ms())
