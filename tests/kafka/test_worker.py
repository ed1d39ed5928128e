"""A worker on Kafka: joins, restarts where it was, refuses what is newer, and says why it ends."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
from kafka import KafkaProducer
from typer.testing import CliRunner

from freshet.cli import app
from freshet.config import Settings
from learning.errors import StartError
from learning.shards.worker import Worker
from stream.clock import WallClock
from stream.codec import encode_events
from stream.engine import ClockMode
from stream.engine.worker_settings import WorkerSettings
from stream.errors import FreshetError
from stream.events import Click
from stream.join import JoinSettings
from stream.kafka import KafkaSettings
from stream.kafka.topics import create_topics
from tests.harness.broker import free_port, wait_until
from tests.harness.workers import Load, WorkerThread, outcomes

pytestmark = pytest.mark.kafka


@pytest.fixture
def ready(topics: KafkaSettings) -> KafkaSettings:
    create_topics(topics)
    return topics


@pytest.fixture
def load(ready: KafkaSettings) -> Iterator[Load]:
    load = Load(ready, np.random.default_rng(1))
    yield load
    load.close()


def settings(kafka: KafkaSettings, port: int = 0, clock: ClockMode = "wall") -> Settings:
    join = JoinSettings(window_ms=500, lateness_ms=1_000)
    return Settings(clock=clock, kafka=kafka, join=join, work=WorkerSettings(metrics_port=port))


def test_it_joins_and_goes_on_after_a_stop_where_it_was(ready: KafkaSettings, load: Load) -> None:
    load.send(100)
    n_closed = sum(outcome[0] == "closed" for outcome in load.expected)
    with WorkerThread(settings(ready)):
        found = outcomes(ready, load.expected.total() - n_closed)
    assert found and not found - load.expected
    load.send(100)
    with WorkerThread(settings(ready)) as worker:
        assert outcomes(ready, load.expected.total()) == load.expected
        # A clean stop left a snapshot of everything.
        assert set(worker.run_again()) == {0}


def test_metrics_name_partitions_and_outcomes(ready: KafkaSettings, load: Load) -> None:
    load.send(20)
    port, page = free_port(), ""

    def counted() -> bool:
        nonlocal page
        try:
            page = urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
        except OSError:
            return False
        lines = [line for line in page.splitlines() if 'outcome="organic"' in line]
        return sum(float(line.split()[-1]) for line in lines) == 20

    with WorkerThread(settings(ready, port)):
        wait_until(counted, 300, "all organic clicks are counted")
    assert 'freshet_shard_position{partition="3",step="join"}' in page


def test_an_aborted_event_is_never_joined(ready: KafkaSettings) -> None:
    producer = KafkaProducer(bootstrap_servers=ready.bootstrap, transactional_id=f"{ready.prefix}feeder")
    producer.init_transactions()
    # On the event clock: the clicks are years old, and no tick may come before one of them.
    with WorkerThread(settings(ready, clock="event")):
        for number in range(6):
            producer.begin_transaction()
            click = Click(ts=1_700_000_000_000, user_id="ann", item_id=f"i{number}")
            producer.send(ready.topic("events"), encode_events([click]), partition=0).get(300)
            (producer.commit_transaction if number % 2 else producer.abort_transaction)()
        producer.close()
        found = outcomes(ready, 3)
    assert found == {("organic", "ann", f"i{number}"): 1 for number in (1, 3, 5)}


def test_a_newer_schema_ends_it_with_the_place_and_what_to_do(ready: KafkaSettings) -> None:
    producer = KafkaProducer(bootstrap_servers=ready.bootstrap)
    producer.send(ready.topic("events"), b"[]", partition=2, headers=[("schema", b"99")]).get(300)
    producer.close()
    with WorkerThread(settings(ready)) as worker:
        wait_until(worker.has_ended, 300, "it refuses the record")
    assert worker.reason is not None and "events/2/0 has event schema 99" in worker.reason


def test_missing_topics_are_named_before_anything_starts(topics: KafkaSettings) -> None:
    environ = {"FRESHET_KAFKA_REPLICATION": "1", "FRESHET_KAFKA_MIN_INSYNC": "1"}
    arguments = ["work", "--kafka", topics.bootstrap, "--prefix", topics.prefix]
    error = CliRunner().invoke(app, arguments, env=environ).exception
    assert isinstance(error, FreshetError) and "run `freshet topics create`" in str(error)


def test_a_taken_port_of_the_metrics_is_named(ready: KafkaSettings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        worker = Worker(settings(ready, port), WallClock(), lambda reason: None)
        with pytest.raises(StartError, match=f"127.0.0.1:{port} .*choose another metrics_port"):
            asyncio.run(worker.run(asyncio.Event()))


def test_a_topic_of_our_own_is_no_source(ready: KafkaSettings, tmp_path: Path) -> None:
    config = tmp_path / "freshet.toml"
    config.write_text(
        f"""[kafka]
        bootstrap = "{ready.bootstrap}"
        prefix = "{ready.prefix}"
        partitions = 4
        replication = 1
        min_insync = 1
        [[kafka.sources]]
        topic = "{ready.prefix}events"
        type = "item"
        fields = {{item_id = "id"}}
        """
    )
    error = CliRunner().invoke(app, ["work", "--config", str(config)]).exception
    assert isinstance(error, FreshetError) and "one of Freshet's own" in str(error)
