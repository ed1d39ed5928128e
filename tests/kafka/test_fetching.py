"""What the fetcher notes about the offsets before a record, against a broker with real transactions."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from stream.engine.faust_fetching import since_of
from stream.kafka import KafkaSettings
from stream.kafka.connection import admin_client
from stream.kafka.reader import async_options

pytestmark = pytest.mark.kafka


async def write(producer: AIOKafkaProducer, topic: str, *values: bytes, abort: bool = False) -> None:
    await producer.begin_transaction()
    for value in values:
        await producer.send_and_wait(topic, value, partition=0)
    await (producer.abort_transaction() if abort else producer.commit_transaction())


async def notes(consumer: AIOKafkaConsumer, enough: int, at_once: int) -> list[tuple[bytes, int, int]]:
    found: list[Any] = []
    while len(found) < enough:
        for records in (await consumer.getmany(timeout_ms=200, max_records=at_once)).values():
            found += records
    return [(record.value, since_of(record), record.offset) for record in found]


def test_only_what_the_fetcher_has_gone_through_is_noted(topics: KafkaSettings) -> None:
    """a | end | b | abort | c d | end: offsets 0, 2 (aborted) and 4, 5; 1, 3 and 6 are ends."""
    topic = topics.topic("events")
    with admin_client(topics) as admin:
        admin.create_topics({topic: {"num_partitions": 1}}, wait_for_metadata=True)

    async def play(at_once: int) -> list[tuple[bytes, int, int]]:
        options = async_options(topics)
        consumer = AIOKafkaConsumer(isolation_level="read_committed", enable_auto_commit=False, **options)
        await consumer.start()
        tp = TopicPartition(topic, 0)
        consumer.assign([tp])
        consumer.seek(tp, 0)
        found = await notes(consumer, 3, at_once)
        consumer.seek(tp, 3)
        found += (await notes(consumer, 1, at_once))[:1]
        await consumer.stop()
        return found

    async def whole() -> tuple[list[Any], list[Any]]:
        producer = AIOKafkaProducer(transactional_id=topic, **async_options(topics))
        await producer.start()
        await write(producer, topic, b"a")
        await write(producer, topic, b"b", abort=True)
        await write(producer, topic, b"c", b"d")
        await producer.stop()
        await decided()
        return await play(1), await play(100)

    async def decided() -> None:
        """A commit is answered before its marker stands, and what is fetched ends at what is not decided."""
        tp, ends = TopicPartition(topic, 0), set[int]()
        while ends != {7}:
            ends.clear()
            for level in ("read_committed", "read_uncommitted"):
                consumer = AIOKafkaConsumer(isolation_level=level, **async_options(topics))
                await consumer.start()
                ends.update((await consumer.end_offsets([tp])).values())
                await consumer.stop()

    expected = [(b"a", 0, 0), (b"c", 1, 4), (b"d", 5, 5), (b"c", 3, 4)]
    assert asyncio.run(whole()) == (expected, expected)
