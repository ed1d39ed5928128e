"""Reading partitions beside the group: what was not delivered, snapshots, and where a partition ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from stream.clock import Clock
from stream.engine.shard import SourceRecord
from stream.errors import BrokerError, LogError
from stream.kafka.connection import client_options
from stream.kafka.settings import KafkaSettings

__all__ = ["PartitionReader", "async_options", "stop_consumer"]

_POLL_MS = 200
_LONGEST_LOOK_S = 1.0
_COMMITTED, _ALL = "read_committed", "read_uncommitted"


def async_options(settings: KafkaSettings) -> dict[str, Any]:
    """How aiokafka reaches the brokers: addresses, protocol, credentials.

    Raises:
        BrokerError: a certificate or key cannot be read.

    Example:
        >>> async_options(KafkaSettings(bootstrap="a:9092,b:9092"))["bootstrap_servers"]
        ['a:9092', 'b:9092']
    """
    options = client_options(settings)
    chosen = ("bootstrap_servers", "security_protocol", "sasl_mechanism", "ssl_context")
    login = ("sasl_plain_username", "sasl_plain_password")
    shared = {name: options[name] for name in (*chosen, *login) if name in options}
    return {**shared, "request_timeout_ms": settings.timeout_ms}


class PartitionReader:
    """Reads committed records of any partition, without a group; for one event loop.

    Each `read` has a consumer of its own, so that many may go on at once; two more answer for offsets.

    Example:
        See `tests/kafka/test_shard_store.py`.
    """

    def __init__(self, settings: KafkaSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._askers: dict[str, AIOKafkaConsumer] = {}
        self._asking = asyncio.Lock()

    async def close(self) -> None:
        """Let go of the brokers."""
        askers, self._askers = self._askers, {}
        for asker in askers.values():
            await stop_consumer(asker)

    async def start_of(self, topic: str, partition: int) -> int:
        """Offset of the oldest record that is still there."""
        asker, tp = await self._ask(), TopicPartition(topic, partition)
        try:
            return int((await asker.beginning_offsets([tp]))[tp])
        except KafkaError as error:
            raise self._trouble(tp, "has no answer for its beginning", error) from error

    async def end_of(self, topic: str, partition: int, *, decided: bool = True) -> int:
        """Offset up to which everything is decided: committed or aborted; or up to which anything stands."""
        asker, tp = await self._ask(_COMMITTED if decided else _ALL), TopicPartition(topic, partition)
        try:
            return int((await asker.end_offsets([tp]))[tp])
        except KafkaError as error:
            raise self._trouble(tp, "has no answer for its end", error) from error

    async def read(
        self, topic: str, partition: int, start: int, stop: int, limit: int = 1_000
    ) -> AsyncIterator[Sequence[SourceRecord]]:
        """The committed records of [start, stop), at most `limit` at a time.

        Raises:
            LogError: records from `start` on are no longer there, or nothing comes although the partition
                goes on.
        """
        if start >= stop:
            return
        tp = TopicPartition(topic, partition)
        consumer = self._consumer()
        try:
            await consumer.start()
            consumer.assign([tp])
            # Never seek_to_beginning: it races with the reset of a new assignment and then reads nothing.
            consumer.seek(tp, start)
            async for records in self._until(consumer, tp, stop, limit):
                yield records
        except OffsetOutOfRangeError as error:
            msg = (
                f"{topic}/{partition}: records from offset {start} on were deleted before they were taken; "
                "what they held is lost. Keep the topic longer (keep_days under [kafka])"
            )
            raise LogError(msg) from error
        except KafkaError as error:
            raise self._trouble(tp, f"cannot be read from offset {start}", error) from error
        finally:
            await stop_consumer(consumer)

    async def _until(
        self, consumer: AIOKafkaConsumer, tp: TopicPartition, stop: int, limit: int
    ) -> AsyncIterator[Sequence[SourceRecord]]:
        looked_s, silent_s, position = self._clock.monotonic_s(), 0.0, -1
        while (now := await consumer.position(tp)) < stop:
            before_s, looked_s = looked_s, self._clock.monotonic_s()
            # Where the process stood still the brokers had no time to answer it.
            silent_s += min(looked_s - before_s, _LONGEST_LOOK_S)
            if now != position:
                position, silent_s = now, 0.0
            elif silent_s > self._settings.timeout_ms / 1e3:
                msg = (
                    f"{tp.topic}/{tp.partition}: nothing came from offset {now} for "
                    f"{self._settings.timeout_ms} ms, though records up to {stop} are expected; are its "
                    "brokers there, and is a transaction open on it?"
                )
                raise LogError(msg)
            got = await consumer.getmany(tp, timeout_ms=_POLL_MS, max_records=limit)
            records = [_record(record) for record in got.get(tp, ()) if record.offset < stop]
            if records:
                yield records

    def _consumer(self, isolation: str = _COMMITTED) -> AIOKafkaConsumer:
        # Without a reset a deleted offset is an error, not a silent jump.
        return AIOKafkaConsumer(
            isolation_level=isolation,
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_wait_ms=_POLL_MS,
            **async_options(self._settings),
        )

    async def _ask(self, isolation: str = _COMMITTED) -> AIOKafkaConsumer:
        async with self._asking:
            if isolation not in self._askers:
                asker = self._consumer(isolation)
                try:
                    await asker.start()
                except asyncio.CancelledError:
                    await stop_consumer(asker)
                    raise
                except KafkaError as error:
                    await stop_consumer(asker)
                    msg = f"no broker answers at {self._settings.bootstrap}: {error}; is the address right?"
                    raise BrokerError(msg) from error
                self._askers[isolation] = asker
            return self._askers[isolation]

    def _trouble(self, tp: TopicPartition, what: str, error: KafkaError) -> BrokerError:
        return BrokerError(
            f"{tp.topic}/{tp.partition} {what}: {error!r}; are its brokers at {self._settings.bootstrap}?"
        )


async def stop_consumer(consumer: AIOKafkaConsumer) -> None:
    """Stop it without being cancelled by it.

    It cancels its fetches under way, and one that waits to ask its broker again passes the cancellation on to
    whoever stops it (aiokafka 0.14): an agent or a task of ours would end without a word.
    """
    try:
        await consumer.stop()
    except asyncio.CancelledError:
        await consumer._client.close()  # which it has not come to
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise  # this one was meant for us


def _record(record: Any) -> SourceRecord:
    value = b"" if record.value is None else record.value
    return SourceRecord(record.offset, value, record.key, record.timestamp, tuple(record.headers))
