"""Topics of others become events exactly once, whatever happens to the worker that follows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from typer.testing import CliRunner

from freshet.cli import app
from learning.errors import StartError
from learning.shards.letters import Letter
from stream.kafka import KafkaSettings
from stream.kafka.connection import admin_client
from stream.kafka.partitioning import partition_of
from stream.kafka.topics import create_topics
from tests.harness.broker import wait_until
from tests.harness.workers import WorkerProcess

pytestmark = pytest.mark.kafka

N_PARTITIONS = 6  # more than ours, so that two of them share a partition of `state-sources`


def sources(topic: str) -> dict[str, str]:
    click = {"topic": topic, "type": "click", "fields": {"user_id": "who", "item_id": "what"}}
    return {"FRESHET_KAFKA_SOURCES": msgspec.json.encode([click]).decode()}


class Theirs:
    """A topic of others, what was sent to it, and what stands committed of it in ours."""

    def __init__(self, settings: KafkaSettings) -> None:
        self.settings = settings
        self.topic = f"{settings.prefix}views"
        with admin_client(settings) as admin:
            # A worker that finds it missing looks again minutes later.
            admin.create_topics({self.topic: {"num_partitions": N_PARTITIONS}}, wait_for_metadata=True)
        self.producer = KafkaProducer(bootstrap_servers=settings.bootstrap)
        self.consumer: Any = KafkaConsumer(
            bootstrap_servers=settings.bootstrap, isolation_level="read_committed", enable_auto_commit=False
        )
        names = [settings.topic(name) for name in ("events", "dead-letters")]
        places = [TopicPartition(name, p) for name in names for p in range(settings.partitions)]
        self.consumer.assign(places)
        for place in places:
            self.consumer.seek(place, 0)
        self.sent: Counter[str] = Counter()
        self.found: Counter[str] = Counter()

    def send(self, n: int) -> None:
        for _ in range(n):
            number = self.sent.total()
            value = (
                b'{"who": "u%d", "what": "i%d"}' % (number % 50, number) if number % 10 else b"%d{" % number
            )
            self.producer.send(self.topic, value, partition=number % N_PARTITIONS)
            self.sent[f"i{number}" if number % 10 else f"{number}{{"] += 1
        self.producer.flush()

    def look(self) -> None:
        for place, records in self.consumer.poll(timeout_ms=100).items():
            for record in records:
                if place.topic.endswith("dead-letters"):
                    letter = msgspec.json.decode(record.value, type=Letter)
                    assert record.key == f"{self.topic}/{letter.partition}/{letter.offset}".encode()
                    assert letter.topic == self.topic and "cannot be read" in letter.reason
                    self.found[msgspec.json.decode(b'"%s"' % _original(letter))] += 1
                    continue
                for event in msgspec.json.decode(record.value):
                    if event["type"] == "click":
                        assert partition_of(event["user_id"], self.settings.partitions) == place.partition
                        self.found[event["item_id"]] += 1

    def until(self, condition: Callable[[], bool], what: str) -> None:
        def holds() -> bool:
            self.look()
            return condition()

        wait_until(holds, 300, what)

    def close(self) -> None:
        self.producer.close()
        self.consumer.close()


def _original(letter: Letter) -> bytes:
    return msgspec.json.decode(b'"%s"' % letter.original.encode(), type=bytes)


def test_each_record_is_mapped_once_though_the_worker_is_killed(
    topics: KafkaSettings, tmp_path: Path
) -> None:
    create_topics(topics)
    theirs = Theirs(topics)
    worker = WorkerProcess(topics, tmp_path / "worker.log", sources(theirs.topic))
    try:
        for _ in range(2):
            before = theirs.found.total()
            theirs.send(500)
            theirs.until(lambda n=before: theirs.found.total() > n, "the worker maps")  # type: ignore[misc]
            theirs.send(2_000)
            worker.kill()
            worker.revive()
        theirs.until(lambda: not theirs.sent - theirs.found, "everything is mapped")
        # A record that is mapped twice would come before what is sent now.
        theirs.send(N_PARTITIONS)
        theirs.until(lambda: not theirs.sent - theirs.found, "the last is mapped")
        assert theirs.found == theirs.sent
        assert worker.stop() == 0
    finally:
        worker.kill()
        theirs.close()


def test_topics_are_read_whatever_codec_others_write_with(topics: KafkaSettings, tmp_path: Path) -> None:
    create_topics(topics)
    codecs = ["gzip", "snappy", "lz4", "zstd"]
    theirs = {codec: f"{topics.prefix}views-{codec}" for codec in codecs}
    with admin_client(topics) as admin:
        wanted = {
            topic: {"num_partitions": 1, "configs": {"compression.type": codec}}
            for codec, topic in theirs.items()
        }
        admin.create_topics(wanted, wait_for_metadata=True)
    click = {"type": "click", "fields": {"user_id": "who", "item_id": "what"}}
    more = [click | {"topic": topic} for topic in theirs.values()]
    worker = WorkerProcess(
        topics, tmp_path / "worker.log", {"FRESHET_KAFKA_SOURCES": msgspec.json.encode(more).decode()}
    )
    consumer = KafkaConsumer(bootstrap_servers=topics.bootstrap, isolation_level="read_committed")
    places = [TopicPartition(topics.topic("events"), p) for p in range(topics.partitions)]
    consumer.assign(places)
    for place in places:
        consumer.seek(place, 0)
    found: set[str] = set()

    def all_found() -> bool:
        for records in consumer.poll(timeout_ms=100).values():
            for record in records:
                found.update(e["item_id"] for e in msgspec.json.decode(record.value) if e["type"] == "click")
        return found >= {*codecs, "own"}

    try:
        producer = KafkaProducer(bootstrap_servers=topics.bootstrap)
        for codec, topic in theirs.items():
            producer.send(topic, b'{"who": "ann", "what": "%s"}' % codec.encode())
        producer.close()
        own = KafkaProducer(bootstrap_servers=topics.bootstrap, compression_type="zstd")
        own.send(
            topics.topic("events"),
            b'[{"type":"click","ts":1700000000000,"user_id":"u","item_id":"own"}]',
            partition=0,
        )
        own.close()
        wait_until(all_found, 300, "everything is mapped")
        assert worker.stop() == 0
    finally:
        worker.kill()
        consumer.close()


def test_a_topic_that_is_not_there_is_named(topics: KafkaSettings) -> None:
    create_topics(topics)
    arguments = ["work", "--kafka", topics.bootstrap, "--prefix", topics.prefix]
    environ = {"FRESHET_KAFKA_PARTITIONS": str(topics.partitions), **sources(f"{topics.prefix}views")}
    environ |= {"FRESHET_KAFKA_REPLICATION": "1", "FRESHET_KAFKA_MIN_INSYNC": "1"}
    error = CliRunner().invoke(app, arguments, env=environ).exception
    assert isinstance(error, StartError)
    assert f"{topics.prefix}views: a topic of [[kafka.sources]] that is not there" in str(error)
