"""Readers beside the group: whatever becomes of them, whoever reads goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from stream.kafka import KafkaSettings
from stream.kafka.reader import async_options, stop_consumer
from stream.kafka.topics import create_topics
from tests.harness.broker import JavaBroker, broker_jars

pytestmark = pytest.mark.kafka


def test_a_consumer_that_waits_for_a_lost_broker_does_not_cancel_who_stops_it(
    topics: KafkaSettings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    del topics  # only to be skipped, or to fail, where there is no broker
    broker = JavaBroker(tmp_path, broker_jars())
    broker.start()
    create_topics(settings := broker.settings())

    async def play() -> str:
        consumer = AIOKafkaConsumer(retry_backoff_ms=600_000, **async_options(settings))
        await consumer.start()
        place = TopicPartition(settings.topic("events"), 0)
        consumer.assign([place])
        consumer.seek(place, 0)
        await consumer.getmany(place, timeout_ms=100)
        broker.kill()
        while "Failed fetch" not in caplog.text:
            await asyncio.sleep(0.01)
        await stop_consumer(consumer)
        return "went on"

    try:
        assert asyncio.run(play()) == "went on"
    finally:
        broker.kill()
