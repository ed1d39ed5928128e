"""Writes rows straight into the topic `events`, checked as the gateway checks them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from freshet.config import Settings
from freshet.feeding.readers import Row
from freshet.feeding.sender import SendReport, deliver
from stream.clock import Clock
from stream.codec import decode_events
from stream.errors import BrokerError
from stream.events import Event
from stream.kafka.bundles import too_large
from stream.kafka.producer import EventProducer

__all__ = ["KafkaSender"]


class KafkaSender:
    """Sends rows to Kafka; after every batch that the brokers acknowledged, `on_progress` is called.

    A batch is acknowledged as a whole or sent again by the next run: the joiner drops what it has seen.

    Raises:
        BrokerError: no broker answers or it refuses, the topic is not there, or has other partitions.
    """

    def __init__(self, settings: Settings, clock: Clock, *, backfill: bool = False) -> None:
        self._settings = settings
        self._clock = clock
        self._backfill = backfill
        self._producer = EventProducer(settings.kafka)

    def send(
        self,
        rows: Iterable[Row],
        *,
        batch: int = 500,
        rate: float = 0.0,
        on_progress: Callable[[int, int], None] = lambda _next, _count: None,
    ) -> SendReport:
        """Send all rows; returns the report.

        Raises:
            BrokerError: some of a batch may not have been written; the same command goes on there.
        """
        return deliver(rows, self._post, self._clock, batch=batch, rate=rate, on_progress=on_progress)

    def close(self) -> None:
        """Close the connections."""
        self._producer.close()

    def _post(self, chunk: list[Row], report: SendReport) -> None:
        settings = self._settings
        latest = None
        if settings.clock == "wall":
            latest = int(self._clock.now_ms()) + settings.serve.max_ahead_ms
        lines = b"\n".join(row.body for row in chunk)
        dimension = settings.learn.embedding_dim
        decoded = decode_events(lines, ndjson=True, dimension=dimension, latest_ts=latest)
        for refusal in decoded.rejected:
            report.refuse(chunk[refusal.index].number, refusal.reason)
        refused = {refusal.index for refusal in decoded.rejected}
        numbers = [row.number for index, row in enumerate(chunk) if index not in refused]
        events: list[Event] = []
        raw: list[bytes] = []
        for number, event, text in zip(numbers, decoded.events, decoded.raw, strict=True):
            if (reason := too_large(text)) is not None:
                report.refuse(number, reason)
            else:
                events.append(event)
                raw.append(text)
        try:
            self._producer.send(events, raw, backfill=self._backfill)
        except BrokerError as error:
            msg = f"{error}; run the same command to go on at row {chunk[0].number + 1}"
            raise BrokerError(msg) from error
        report.accepted += len(events)
        report.accepted_at = int(self._clock.now_ms())
