"""`freshet work` as a process: joins, restarts where it was, refuses what is newer, and says why it ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
from kafka import KafkaProducer

from freshet.testing_work import Load, WorkerProcess, outcomes
from stream.codec import encode_events
from stream.events import Click
from stream.kafka import KafkaSettings
from stream.kafka.topics import create_topics
from stream.testing_kafka import free_port, wait_until

pytestmark = pytest.mark.kafka


@pytest.fixture
def ready(topics: KafkaSettings) -> KafkaSettings:
    create_topics(topics)
    return topics


@pytest.fixture
def worker(ready: KafkaSettings, tmp_path: Path) -> Iterator[WorkerProcess]:
    port = free_port()
    worker = WorkerProcess(ready, tmp_path / "worker", {"FRESHET_WORK_METRICS_PORT": str(port)})
    worker.port = port  # type: ignore[attr-defined]
    try:
        yield worker
    finally:
        worker.kill()


@pytest.fixture
def load(ready: KafkaSettings) -> Iterator[Load]:
    load = Load(ready, np.random.default_rng(1))
    yield load
    load.close()


def test_it_joins_and_goes_on_after_a_stop_where_it_was(
    ready: KafkaSettings, worker: WorkerProcess, load: Load
) -> None:
    load.send(100)
    closed_later = sum(outcome[0] == "closed" for outcome in load.expected)
    found = outcomes(ready, load.expected.total() - closed_later, 30)
    assert found - load.expected == {} and found
    assert worker.stop() == 0
    worker.revive()
    load.send(100)
    assert outcomes(ready, load.expected.total(), 40) == load.expected
    # A clean stop left a snapshot: nothing was run again.
    assert worker.said().count(", 0 records run again") == 2 * ready.partitions


def test_metrics_name_partitions_and_outcomes(
    ready: KafkaSettings, worker: WorkerProcess, load: Load
) -> None:
    load.send(20)
    page = ""

    def counted() -> bool:
        nonlocal page
        try:
            page = urlopen(f"http://127.0.0.1:{worker.port}/metrics").read().decode()  # type: ignore[attr-defined]
        except OSError:
            return False
        lines = [line for line in page.splitlines() if 'outcome="organic"' in line]
        return sum(float(line.split()[-1]) for line in lines) == 20

    wait_until(counted, 30, "all organic clicks are counted")
    assert 'freshet_shard_position{partition="3"}' in page


def test_an_aborted_event_is_never_joined(ready: KafkaSettings, worker: WorkerProcess) -> None:
    producer = KafkaProducer(bootstrap_servers=ready.bootstrap, transactional_id=f"{ready.prefix}feeder")
    producer.init_transactions()
    for number in range(6):
        producer.begin_transaction()
        click = Click(ts=5_000, user_id="ann", item_id=f"i{number}")
        producer.send(ready.topic("events"), encode_events([click]), partition=0).get(10)
        (producer.commit_transaction if number % 2 else producer.abort_transaction)()
    producer.close()
    found = outcomes(ready, 3, 30)
    assert found == {("organic", "ann", f"i{number}"): 1 for number in (1, 3, 5)}


def test_a_newer_schema_ends_it_with_the_place_and_what_to_do(
    ready: KafkaSettings, worker: WorkerProcess
) -> None:
    producer = KafkaProducer(bootstrap_servers=ready.bootstrap)
    producer.send(ready.topic("events"), b"[]", partition=2, headers=[("schema", b"99")]).get(10)
    producer.close()
    assert worker.process.wait(timeout=60) == 1
    assert "events/2/0 has event schema 99" in worker.said().replace(ready.prefix, "")


def test_missing_topics_are_named_before_anything_starts(topics: KafkaSettings, tmp_path: Path) -> None:
    worker = WorkerProcess(topics, tmp_path / "worker")
    assert worker.process.wait(timeout=60) == 1
    assert "freshet topics create" in worker.said()
