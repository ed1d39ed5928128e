"""The items' rows in a process that learns users: one reader of `item-vectors` for all its partitions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from learning.rows.codec import PROGRESS_KEY, ItemRow, decode_item_row
from stream.engine.shard import Output, ShardStep, SourceRecord
from stream.errors import BrokerError, FrameError
from stream.frame import Frame
from stream.kafka.reader import async_options, stop_consumer
from stream.kafka.settings import KafkaSettings

__all__ = ["FollowingStep", "ItemReplica", "TakesItems"]

_log = logging.getLogger(__name__)

_POLL_MS = 200
_AT_ONCE = 2_000  # decoded in some ms, in which nothing else happens


class ItemReplica:
    """The newest row of every item, in the order in which they came; grows with the catalogue.

    Rows are read committed, from the beginning of the topic. It is for one event loop.

    Args:
        settings: where the brokers are.

    Example:
        >>> replica = ItemReplica(KafkaSettings())
        >>> replica.put("tea", ItemRow(item_id="tea"))
        >>> rows, seen = replica.since(0)
        >>> [row.item_id for row in rows], replica.since(seen)[0]
        (['tea'], [])
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._topic = settings.topic("item-vectors")
        self._rows: dict[str, tuple[int, ItemRow]] = {}
        self._n = 0
        self._is_whole = asyncio.Event()
        self.unreadable = 0
        """Rows that could not be read, and were passed over."""

    @property
    def size(self) -> int:
        """Items known."""
        return len(self._rows)

    async def whole(self) -> None:
        """Wait until everything that stood in the topic at the start has been read."""
        await self._is_whole.wait()

    def since(self, seen: int) -> tuple[list[ItemRow], int]:
        """The rows that came after `seen` (0: all), oldest first, and what to ask with the next time."""
        found: list[ItemRow] = []
        for number, row in reversed(self._rows.values()):
            if number <= seen:
                break
            found.append(row)
        found.reverse()
        return found, self._n

    def put(self, item_id: str, row: ItemRow | None) -> None:
        """Take a row, or its deletion."""
        self._rows.pop(item_id, None)
        if row is not None:
            self._n += 1
            self._rows[item_id] = self._n, row

    async def follow(self) -> None:
        """Read for ever; ends by cancellation.

        Raises:
            BrokerError: the topic cannot be read.
        """
        consumer = AIOKafkaConsumer(
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=_POLL_MS,
            **async_options(self._settings),
        )
        try:
            await consumer.start()
            await self._read(consumer)
        except KafkaError as error:
            msg = (
                f"{self._topic} cannot be followed: {error!r}; are its brokers at {self._settings.bootstrap}?"
            )
            raise BrokerError(msg) from error
        finally:
            await stop_consumer(consumer)

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        places = [TopicPartition(self._topic, p) for p in range(self._settings.partitions)]
        consumer.assign(places)
        for place in places:
            # Never seek_to_beginning: it races with the reset of a new assignment and then reads nothing.
            consumer.seek(place, 0)
        missing: dict[Any, int] = {
            place: end for place, end in (await consumer.end_offsets(places)).items() if end
        }
        while True:
            for place in [place for place, end in missing.items() if await consumer.position(place) >= end]:
                del missing[place]
            if not missing:
                self._is_whole.set()
            for records in (await consumer.getmany(timeout_ms=_POLL_MS, max_records=_AT_ONCE)).values():
                for record in records:
                    self._take(record)

    def _take(self, record: Any) -> None:
        if record.key is None or record.key == PROGRESS_KEY:
            return
        try:
            self.put(record.key.decode(), None if record.value is None else decode_item_row(record.value))
        except (FrameError, UnicodeDecodeError) as error:
            self.unreadable += 1
            _log.error("%s/%d/%d is passed over: %s", self._topic, record.partition, record.offset, error)


class TakesItems(ShardStep, Protocol):
    """A step that reads item vectors which others own."""

    def apply_items(self, rows: Sequence[ItemRow]) -> None:
        """Take newer rows."""


class FollowingStep:
    """A step with the replica's rows handed to it before each batch.

    Args:
        step: learns users.
        replica: the process's.
    """

    def __init__(self, step: TakesItems, replica: ItemReplica) -> None:
        self._step, self._replica = step, replica
        self._seen = 0

    def on_records(self, records: Sequence[SourceRecord]) -> None:
        """As the step, with the newest rows."""
        rows, self._seen = self._replica.since(self._seen)
        if rows:
            self._step.apply_items(rows)
        self._step.on_records(records)

    def take(self) -> list[Output]:
        """As the step."""
        return self._step.take()

    def snapshot(self) -> Frame:
        """As the step."""
        return self._step.snapshot()

    def restore(self, frame: Frame) -> None:
        """As the step, which then is behind the replica again."""
        self._step.restore(frame)
        self._seen = 0
