"""Events reach the topic `events` through the plain client, and `freshet feed --kafka` resumes."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from typer.testing import CliRunner

from freshet.cli import app
from learning.shards.join import JoinShard
from stream.codec import decode_logged, encode_events
from stream.engine.shard import SourceRecord
from stream.errors import BrokerError
from stream.events import Click, LoggedEvent
from stream.kafka import KafkaSettings
from stream.kafka.connection import admin_client
from stream.kafka.layout import LAYOUT
from stream.kafka.partitioning import partition_of
from stream.kafka.producer import EventProducer
from stream.kafka.topics import create_topics
from tests.harness.broker import free_port

pytestmark = pytest.mark.kafka

T0 = 1_700_000_000_000
EVENTS = [topic for topic in LAYOUT if topic.name == "events"]


@pytest.fixture
def ready(topics: KafkaSettings) -> KafkaSettings:
    """Settings whose topic `events` is there."""
    create_topics(topics, EVENTS)
    return topics


def _clicks(n: int, text: str = "") -> tuple[list[LoggedEvent], list[bytes]]:
    events: list[LoggedEvent] = [
        Click(ts=T0, item_id="tea", user_id=f"u{number % 7}", event_id=f"e{number}", session_id=text or None)
        for number in range(n)
    ]
    return events, [msgspec.json.encode(event) for event in events]


def _records(settings: KafkaSettings) -> list[Any]:
    """All that is in `events`, partition by partition."""
    name = settings.topic("events")
    consumer = KafkaConsumer(bootstrap_servers=settings.bootstrap, auto_offset_reset="earliest")
    try:
        places = [TopicPartition(name, number) for number in range(settings.partitions)]
        ends = {place: end for place, end in consumer.end_offsets(places).items() if end}
        consumer.assign(list(ends))
        found: list[Any] = []
        while any(consumer.position(place) < end for place, end in ends.items()):
            found += [record for batch in consumer.poll(1_000).values() for record in batch]
        return found
    finally:
        consumer.close()


def _events_in(settings: KafkaSettings) -> list[Any]:
    return [event for record in _records(settings) for event in decode_logged(record.value)]


def test_what_was_sent_is_there_once_in_the_partition_of_its_user(ready: KafkaSettings) -> None:
    events, raw = _clicks(500)
    with EventProducer(ready) as producer:
        producer.send(events, raw)
    records = _records(ready)
    found = [
        (record.partition, msgspec.to_builtins(e)) for record in records for e in decode_logged(record.value)
    ]
    assert all(place == partition_of(event["user_id"], 4) for place, event in found)
    assert sorted(event["event_id"] for _, event in found) == sorted(f"e{n}" for n in range(500))
    assert {(record.key is None, *record.headers) for record in records} == {(False, ("schema", b"1"))}


def test_history_says_so_in_a_header(ready: KafkaSettings) -> None:
    with EventProducer(ready) as producer:
        producer.send(*_clicks(1), backfill=True)
    assert _records(ready)[0].headers == [("schema", b"1"), ("backfill", b"1")]


def test_a_topic_that_is_not_there(topics: KafkaSettings) -> None:
    with pytest.raises(BrokerError, match="run `freshet topics create`"):
        EventProducer(topics)


def test_a_topic_with_other_partitions_is_refused_before_ids_are_routed_wrongly(ready: KafkaSettings) -> None:
    with pytest.raises(BrokerError, match="expected 5 partitions, found 4; run `freshet topics check`"):
        EventProducer(msgspec.structs.replace(ready, partitions=5))


def test_nobody_at_the_address(topics: KafkaSettings) -> None:
    nobody = msgspec.structs.replace(topics, bootstrap=f"127.0.0.1:{free_port()}", timeout_ms=1_500)
    with pytest.raises(BrokerError, match="nobody listens there"):
        EventProducer(nobody)


def test_a_record_above_the_limit_of_the_topic(topics: KafkaSettings) -> None:
    small = {"num_partitions": 4, "configs": {"max.message.bytes": "2000"}}
    with admin_client(topics) as client:
        client.create_topics({topics.topic("events"): small}, wait_for_metadata=True)
    with EventProducer(msgspec.structs.replace(topics, compression="none")) as producer:
        with pytest.raises(BrokerError, match="larger than the topic takes"):
            producer.send(*_clicks(280))
        producer.send(*_clicks(2))
    assert len(_events_in(topics)) == 2


@pytest.fixture
def feed(ready: KafkaSettings, tmp_path: Path) -> Callable[..., Any]:
    """Runs `freshet feed` into the test's topics."""
    environment = {
        f"FRESHET_KAFKA_{name.upper()}": str(getattr(ready, name))
        for name in ("prefix", "partitions", "replication", "min_insync")
    } | {"FRESHET_CLOCK": "event"}
    return lambda *words: CliRunner().invoke(
        app, ["feed", *map(str, words), "--kafka", ready.bootstrap], env=environment
    )


def test_feed_sends_a_file_and_reports_what_it_refuses(
    feed: Callable[..., Any], ready: KafkaSettings, tmp_path: Path
) -> None:
    file = tmp_path / "clicks.jsonl"
    file.write_bytes(b"\n".join([*_clicks(30)[1], b'{"type": "click"}', b"{"]))
    ran = feed(file, "--json", "-", "--backfill", "--batch", "8")
    assert ran.exit_code == 1
    assert json.loads(ran.stdout)["accepted"] == 30
    assert "row 31: ts: required, but missing" in " ".join(ran.stderr.split())
    assert {record.headers[1] for record in _records(ready)} == {("backfill", b"1")}


def test_feed_goes_on_where_it_stopped(
    feed: Callable[..., Any], ready: KafkaSettings, tmp_path: Path
) -> None:
    file = tmp_path / "clicks.jsonl"
    file.write_bytes(b"\n".join(_clicks(20)[1]))
    mark = {"size": file.stat().st_size, "mtime": file.stat().st_mtime_ns, "next": 15}
    (tmp_path / ".clicks.jsonl.freshet-resume").write_text(json.dumps(mark))
    assert feed(file).exit_code == 0
    assert sorted(event.event_id for event in _events_in(ready)) == [f"e{n}" for n in range(15, 20)]


def test_feed_refuses_history_behind_what_was_learned(
    feed: Callable[..., Any], ready: KafkaSettings, tmp_path: Path
) -> None:
    with admin_client(ready) as client:
        client.create_topics({ready.topic("control"): {"num_partitions": 1}}, wait_for_metadata=True)
    reached = 1_700_000_000_000
    shard = JoinShard(0, lambda name: 0)
    later = encode_events([Click(ts=reached, item_id="a", user_id="u")])
    shard.on_records([SourceRecord(0, later, headers=(("backfill", b"1"),))])
    told = [output for output in shard.take() if output.topic == "control"]
    with closing(KafkaProducer(bootstrap_servers=ready.bootstrap)) as producer:
        for output in told:  # what JOIN's owner of each partition says
            for partition in range(ready.partitions):
                producer.send(ready.topic("control"), output.value, f"history/{partition}".encode()).get(300)
    file = tmp_path / "older.jsonl"
    older = [Click(ts=reached - 86_400_000, item_id="a", user_id=f"u{n}") for n in range(20)]
    file.write_bytes(b"\n".join(map(msgspec.json.encode, older)))
    ran = feed(file, "--backfill", "--json", "-")
    assert ran.exit_code == 1 and json.loads(ran.stdout)["accepted"] == 0
    assert "history is loaded up to 2023-11-14T22:13:20Z" in " ".join(ran.stderr.split())


def test_feed_to_two_places_is_a_wrong_call(feed: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "clicks.jsonl"
    file.write_bytes(b"")
    assert feed(file, "--to", "http://127.0.0.1:1").exit_code == 2
