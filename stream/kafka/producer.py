"""Writes accepted events into the topic `events`; it returns when `min_insync` brokers have them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any

from stream.clock import Clock, WallClock
from stream.errors import BrokerError, OverloadedError
from stream.events import LoggedEvent
from stream.kafka.bundles import Bundle, bundled, headers_of
from stream.kafka.connection import admin_client, client_options, explained, kafka, theirs, translated
from stream.kafka.settings import KafkaSettings

__all__ = ["EventProducer"]

_LINGER_MS = 5
_MAX_IN_FLIGHT_BYTES = 64 << 20


class EventProducer:
    """A producer for any number of threads.

    Every call's events become one record a partition; the client keeps records of a partition together for
    up to 5 ms and compresses them as one batch. Records are written once and in order even when the client
    has to repeat a request. Events that were not acknowledged may or may not be there: send them again, the
    joiner drops what it has seen.

    Bound: 64 MB of events wait for brokers, beyond which `submit` refuses.

    Args:
        settings: where, and how. The topic must have as many partitions as they say, or ids would be routed
            to where nobody looks for them.

    Raises:
        BrokerError: no broker answers or it refuses, the topic is not there, or has other partitions.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._clock: Clock = WallClock()
        self._topic = settings.topic("events")
        self._lock = threading.Lock()
        self._in_flight = 0
        _require_topic(settings, self._topic)
        self._failed = False
        self._producer = _open(settings)

    def send(self, events: Sequence[LoggedEvent], raw: Sequence[bytes], *, backfill: bool = False) -> None:
        """Write `events`, as `raw` has them, and return when all are acknowledged.

        Raises:
            BrokerError: some may not have been written; says why and what to try.
            OverloadedError: as `submit`.
        """
        self.submit(events, raw, backfill=backfill).result()

    def submit(
        self, events: Sequence[LoggedEvent], raw: Sequence[bytes], *, backfill: bool = False
    ) -> Future[None]:
        """Begin to write; the future ends when all are acknowledged, or with a `BrokerError`.

        Raises:
            OverloadedError: too much waits for the brokers; nothing of this call was taken.
        """
        bundles = bundled(events, raw, self._settings.partitions)
        answer = _Answer(len(bundles))
        size = sum(len(bundle.value) for bundle in bundles)
        producer = self._take(size)
        for bundle in bundles:
            self._send_one(producer, bundle, headers_of(backfill), answer)
        return answer.future

    def close(self) -> None:
        """Write what waits, for up to `timeout_ms`, and close the connections."""
        self._producer.close(timeout=self._settings.timeout_ms / 1e3)

    def __enter__(self) -> EventProducer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take(self, size: int) -> Any:
        """Make room for so many bytes; the client to send them with."""
        with self._lock:
            if self._in_flight and self._in_flight + size > _MAX_IN_FLIGHT_BYTES:
                msg = f"{self._in_flight} bytes wait for Kafka at {self._settings.bootstrap}; try again later"
                raise OverloadedError(msg)
            if self._failed:
                # After a failure the client aborts whatever comes, for it could not keep the order otherwise.
                broken, self._producer = self._producer, _open(self._settings)
                self._failed = False
                # Closing it ends its other calls, which ask for our lock: not from here.
                threading.Thread(target=broken.close, kwargs={"timeout": 0}).start()
            self._in_flight += size
            return self._producer

    def _send_one(
        self, producer: Any, bundle: Bundle, headers: list[tuple[str, bytes]], answer: _Answer
    ) -> None:
        def on_written(_: object) -> None:
            self._landed(bundle)
            answer.one_more(None)

        def on_failed(error: BaseException) -> None:
            with self._lock:
                self._failed = self._failed or producer is self._producer
            self._landed(bundle)
            answer.one_more(BrokerError(explained(error, self._settings)))

        try:
            with translated(self._settings):
                sent = producer.send(
                    self._topic,
                    bundle.value,
                    bundle.key.encode(),
                    headers,
                    partition=bundle.partition,
                    # Not the client's own, which follows a clock that is wrong.
                    timestamp_ms=int(self._clock.now_ms()),
                )
        except BrokerError as error:
            self._landed(bundle)
            answer.one_more(error)
            return
        sent.add_callback(on_written)
        sent.add_errback(on_failed)

    def _landed(self, bundle: Bundle) -> None:
        with self._lock:
            self._in_flight -= len(bundle.value)


class _Answer:
    """Ends a future when the last of `n` records is done; the first failure is what it ends with."""

    def __init__(self, n: int) -> None:
        self.future: Future[None] = Future()
        self._lock = threading.Lock()
        self._left = n
        self._error: BrokerError | None = None
        if n == 0:
            self.future.set_result(None)

    def one_more(self, error: BrokerError | None) -> None:
        with self._lock:
            self._left -= 1
            self._error = self._error or error
            if self._left:
                return
        if self._error is None:
            self.future.set_result(None)
        else:
            self.future.set_exception(self._error)


def _open(settings: KafkaSettings) -> Any:
    with translated(settings):
        return kafka.KafkaProducer(
            **client_options(settings),
            acks="all",
            enable_idempotence=True,
            compression_type=None if settings.compression == "none" else settings.compression,
            linger_ms=_LINGER_MS,
            batch_size=256 << 10,
            max_request_size=8 << 20,  # the broker's own limit decides
            allow_auto_create_topics=False,
            max_block_ms=settings.timeout_ms,
            request_timeout_ms=settings.timeout_ms,
            delivery_timeout_ms=2 * settings.timeout_ms,
        )


def _require_topic(settings: KafkaSettings, name: str) -> None:
    with admin_client(settings) as client:
        (topic,) = client.describe_topics([name])
        if topic["error_code"]:
            raise theirs.for_code(topic["error_code"])
        found = len(topic["partitions"])
    if found != settings.partitions:
        msg = (
            f"Kafka at {settings.bootstrap}: topic {name}: expected {settings.partitions} partitions, "
            f"found {found}; run `freshet topics check`, or correct `partitions` under [kafka]"
        )
        raise BrokerError(msg)
