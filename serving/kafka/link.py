"""The connection on which a worker writes `events`, and whether the brokers are there."""

from __future__ import annotations

import threading
from collections.abc import Callable

import msgspec

from stream.clock import Clock
from stream.errors import BrokerError
from stream.kafka import KafkaSettings
from stream.kafka.connection import admin_client
from stream.kafka.producer import EventProducer

__all__ = ["Link"]

_LOOK_S = 1.0
_SILENT_S = 3.0
_PROBE_MS = 3_000


class Link:
    """Opens the producer when it is needed, and knows whether anybody answers.

    Brokers count as away once a write has failed, or once nothing has come from them for three seconds and
    they do not answer a question either; and as back once they do. While they are away they are asked each
    second.

    Attributes:
        on_away: called with the reason when they go away.
        away: why the brokers count as away; empty while they do not.
        drops: how often they went away.
    """

    def __init__(self, settings: KafkaSettings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self._probing = msgspec.structs.replace(settings, timeout_ms=min(settings.timeout_ms, _PROBE_MS))
        self._lock = threading.Lock()
        self._producer: EventProducer | None = None
        self._heard_s = clock.monotonic_s()
        self._since_s = 0.0
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._watch, name="link", daemon=True)
        self.on_away: Callable[[str], None] = lambda _: None
        self.away = ""
        self.drops = 0

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no longer."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def close(self) -> None:
        """Let go of the brokers."""
        if self._producer is not None:
            self._producer.close()

    def producer(self) -> EventProducer:
        """What to write with.

        Raises:
            BrokerError: no broker answers, or the topic is not as it should be.
        """
        with self._lock:
            if self._producer is None:
                self._producer = EventProducer(self._settings)
            return self._producer

    def heard(self) -> None:
        """Something came from the brokers."""
        self._heard_s = self._clock.monotonic_s()
        if self.away:
            self._is_back()

    def failed(self, error: BrokerError) -> None:
        """Something could not be written."""
        with self._changed:
            was_there = not self.away
            self.away = str(error)
            if was_there:
                self.drops += 1
                self._since_s = self._clock.monotonic_s()
            self._changed.notify_all()
        if was_there:
            self.on_away(self.away)

    def wait_back(self, timeout_s: float) -> bool:
        """Wait until the brokers are there, or the time has passed; whether they are."""
        with self._changed:
            self._changed.wait_for(lambda: not self.away or self._stop.is_set(), timeout_s)
            return not self.away

    @property
    def away_s(self) -> float:
        """Seconds since the brokers went away; 0 while they are there."""
        return self._clock.monotonic_s() - self._since_s if self.away else 0.0

    def _is_back(self) -> None:
        with self._changed:
            self.away = ""
            self._changed.notify_all()

    def _watch(self) -> None:
        while not self._stop.wait(_LOOK_S):
            silent_s = self._clock.monotonic_s() - self._heard_s
            if self.away or silent_s > _SILENT_S:
                self._probe()

    def _probe(self) -> None:
        try:
            with admin_client(self._probing) as client:
                client.describe_topics([self._settings.topic("events")])
        except BrokerError as error:
            self.failed(error)
        else:
            self.heard()
