"""Bad days that concern more than one part; the others stand with the part that they hit."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from typer.testing import CliRunner

from freshet.cli import app
from learning.rows.codec import decode_item_row
from stream.clock import WallClock
from stream.codec import encode_events
from stream.engine.shard import Shard
from stream.errors import BrokerError, FrameError, LogError
from stream.events import Click
from stream.kafka import KafkaSettings
from stream.kafka.layout import LAYOUT
from stream.kafka.partitioning import partition_of
from stream.kafka.reader import PartitionReader
from stream.kafka.shard_store import KafkaShardStore
from stream.kafka.topics import create_topics
from stream.testing_shard import FoldingStep
from tests.harness.broker import free_port, wait_until
from tests.harness.cells import counts
from tests.harness.workers import WorkerProcess

pytestmark = pytest.mark.kafka

POISON = b"\xff\x00 no frame, no JSON"


def _committed(kafka: KafkaSettings, topic: str) -> Iterator[Any]:
    """The records of a topic, up to where it ends now."""
    consumer = KafkaConsumer(
        bootstrap_servers=kafka.bootstrap, isolation_level="read_committed", auto_offset_reset="earliest"
    )
    try:
        name = kafka.topic(topic)
        places = [TopicPartition(name, number) for number in sorted(consumer.partitions_for_topic(name))]
        ends = {place: end for place, end in consumer.end_offsets(places).items() if end}
        consumer.assign(list(ends))
        while any(consumer.position(place) < end for place, end in ends.items()):
            for batch in consumer.poll(timeout_ms=500).values():
                yield from batch
    finally:
        consumer.close()


def _clicks_of(kafka: KafkaSettings, item_id: str) -> int:
    """Clicks in the newest readable row of an item."""
    clicks = 0
    for record in _committed(kafka, "item-vectors"):
        if record.key == item_id.encode() and record.value:
            try:
                clicks = counts(decode_item_row(record.value).parts)[0]
            except FrameError:
                continue
    return clicks


def _letters(kafka: KafkaSettings) -> set[tuple[str, int, int]]:
    """Topic, partition and offset of all that became a dead letter."""
    values = [record.value for record in _committed(kafka, "dead-letters")]
    letters = [json.loads(value) for value in values if b"{" in value]
    return {(letter["topic"], letter["partition"], letter["offset"]) for letter in letters}


def test_poison_in_every_topic_stops_nothing(topics: KafkaSettings, tmp_path: Path) -> None:
    create_topics(topics)
    producer = KafkaProducer(bootstrap_servers=topics.bootstrap)
    home = partition_of("tea", topics.partitions)
    for topic in LAYOUT:
        where = home if topic.sharded else 0
        producer.send(topics.topic(topic.name), POISON, key=b"poison", partition=where).get(300)
    worker = WorkerProcess(topics, tmp_path / "worker.log")
    try:
        now = int(WallClock().now_ms())
        for number in range(5):
            user = f"u{number}"
            click = encode_events([Click(ts=now + number, user_id=user, item_id="tea")])
            place = partition_of(user, topics.partitions)
            producer.send(topics.topic("events"), click, key=user.encode(), partition=place).get(300)
        wait_until(lambda: _clicks_of(topics, "tea") == 5, 300, "the item's row knows of all clicks")
        wait_until(lambda: len(_letters(topics)) >= 4, 300, "each step has written its dead letter")
        assert worker.is_alive(), worker.said()
    finally:
        worker.kill()
        producer.close()
    places = {(topic, home, 0) for topic in ("events", "feedback", "item-feedback")} | {("training", 0, 0)}
    assert _letters(topics) == places


def test_a_worker_ends_with_a_reason_when_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRESHET_KAFKA_TIMEOUT_MS", "3000")
    ran = CliRunner().invoke(app, ["work", "--kafka", f"127.0.0.1:{free_port()}"])
    assert isinstance(ran.exception, BrokerError)
    assert "nobody listens there" in str(ran.exception)


def test_a_topic_that_lost_its_data_is_told_of_and_not_skipped(topics: KafkaSettings) -> None:
    create_topics(topics)
    asyncio.run(_lose_the_source(topics))


async def _lose_the_source(settings: KafkaSettings) -> None:
    """A position that the source does not reach: what a topic made anew looks like."""
    reader = PartitionReader(settings, WallClock())

    def store() -> KafkaShardStore:
        return KafkaShardStore(settings, reader, app="join", source="events", state="state-join", partition=0)

    owner, heir = store(), store()
    try:
        await owner.recover()
        await owner.commit((), 7)
        await owner.close()
        with pytest.raises(LogError, match=r"ends at offset 0 and was learned up to 7.*lost its data"):
            await Shard(FoldingStep(), heir, WallClock()).open()
    finally:
        await heir.close()
        await reader.close()
