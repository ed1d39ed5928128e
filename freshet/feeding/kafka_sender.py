"""Writes rows straight into the topic `events`, checked as the gateway checks them."""

from __future__ import annotations

import asyncio

from freshet.config import Settings
from freshet.feeding.readers import Row
from freshet.feeding.sender import Refused, RowSender, SendReport
from learning.rows.codec import decode_control
from stream.clock import Clock
from stream.codec import decode_events
from stream.errors import BrokerError, FrameError
from stream.events import Event
from stream.kafka.bundles import too_large
from stream.kafka.layout import LAYOUT
from stream.kafka.partitioning import partition_of, routing_id
from stream.kafka.producer import EventProducer
from stream.kafka.reader import PartitionReader
from stream.kafka.settings import KafkaSettings
from stream.kafka.topics import describe_topics
from stream.lateness import EventTimeGate, LateGate, WallGate, without_late

__all__ = ["KafkaSender", "history_marks"]


class KafkaSender(RowSender):
    """Sends rows to Kafka; after every batch that the brokers acknowledged, `on_progress` is called.

    A batch is acknowledged as a whole or sent again by the next run: the joiner drops what it has seen.

    Raises:
        BrokerError: no broker answers or it refuses, the topic is not there, or has other partitions.
    """

    def __init__(self, settings: Settings, clock: Clock, *, backfill: bool = False) -> None:
        super().__init__(clock)
        self._settings = settings
        self._backfill = backfill
        self._producer = EventProducer(settings.kafka)
        self._gate = self._late_gate()

    def close(self) -> None:
        """Close the connections."""
        self._producer.close()

    def _late_gate(self) -> LateGate | None:
        """What refuses rows that JOIN would count as late; None where that cannot be told from here."""
        settings = self._settings
        times = settings.join.lateness_ms, settings.engine.tick_ms
        if not self._backfill:
            return WallGate(times[0], self._clock.now_ms) if settings.clock == "wall" else None
        reached = asyncio.run(history_marks(settings.kafka, self._clock))
        return EventTimeGate(
            *times,
            history=True,
            known=lambda partition: reached.get(partition, -1),
            partition_of=lambda event: partition_of(routing_id(event), settings.kafka.partitions),
        )

    def _post(self, chunk: list[Row], report: SendReport, doubtful: bool) -> None:
        settings = self._settings
        latest = None
        if settings.clock == "wall":
            latest = int(self._clock.now_ms()) + settings.serve.max_ahead_ms
        lines = b"\n".join(row.body for row in chunk)
        dimension = settings.learn.embedding_dim
        decoded = decode_events(lines, ndjson=True, dimension=dimension, latest_ts=latest)
        if self._gate is not None:
            passage = self._gate.enter(decoded.events)
            decoded = without_late(decoded, passage.late)
            # Of one sender nothing else is on its way; what a failed batch held is sent again.
            self._gate.leave(passage, stored=True)
        by_reason = [Refused(chunk[r.index].number, r.reason, chunk[r.index].file) for r in decoded.rejected]
        report.refuse_all(by_reason, doubtful=doubtful)
        refused = {refusal.index for refusal in decoded.rejected}
        kept = [row for index, row in enumerate(chunk) if index not in refused]
        events: list[Event] = []
        raw: list[bytes] = []
        for row, event, text in zip(kept, decoded.events, decoded.raw, strict=True):
            if (reason := too_large(text)) is not None:
                report.refuse(row.number, reason, row.file)
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


async def history_marks(settings: KafkaSettings, clock: Clock) -> dict[int, int]:
    """By partition of `events`, how far history has come there (ms), as JOIN's owners wrote it down.

    Raises:
        BrokerError: no broker answers.
    """
    found: dict[int, int] = {}
    topic = settings.topic("control")
    if topic not in describe_topics(settings, [each for each in LAYOUT if each.name == "control"]):
        return found  # nobody has learned anything there
    reader = PartitionReader(settings, clock)
    try:
        begin, end = await reader.start_of(topic, 0), await reader.end_of(topic, 0)
        async for records in reader.read(topic, 0, begin, end):
            for record in records:
                key = (record.key or b"").decode("utf-8", "replace")
                if key.startswith("history/") and record.value:
                    try:
                        _, state = decode_control(record.value)
                        found[int(key.removeprefix("history/"))] = int(state["watermark"])
                    except (FrameError, KeyError, ValueError, TypeError):
                        continue  # somebody else's record; whoever serves counts it
    finally:
        await reader.close()
    return found
