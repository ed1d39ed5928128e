"""Topics that were written while a worker's clock was wrong, and the command that mends them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from kafka import KafkaProducer
from typer.testing import CliRunner

from freshet.cli import app
from freshet.config import Settings, load_settings
from freshet.run.serve_kafka import followed_topics
from freshet.run.worker import worker_config
from learning.errors import StartError
from learning.parts import build_parts
from serving.kafka.backend import KafkaBackend
from serving.service import Service
from stream.clock import WallClock
from stream.codec import encode_events
from stream.events import Click, LoggedEvent, Tick
from stream.kafka import KafkaSettings
from stream.kafka.topics import create_topics
from tests.harness.live import LiveWorker, wait_until
from tests.harness.workers import WorkerThread, outcomes

pytestmark = pytest.mark.kafka

YEAR = 365 * 86_400_000


@pytest.fixture
def chosen(topics: KafkaSettings) -> Settings:
    create_topics(topics)
    flags = {
        "learn": {"embedding_dim": 4, "max_users": 4_096, "max_items": 4_096},
        "engine": {"tick_ms": 200},
    }
    return msgspec.structs.replace(load_settings(environ={}, flags=flags), kafka=topics)


def send(kafka: KafkaSettings, event: LoggedEvent) -> None:
    """Into every partition."""
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap)
    for partition in range(kafka.partitions):
        producer.send(kafka.topic("events"), encode_events([event]), partition=partition).get(300)
    producer.close()


def click(name: str) -> Click:
    return Click(ts=int(WallClock().now_ms()), user_id=name, item_id="tea")


def repair(kafka: KafkaSettings, *more: str) -> Any:
    environ = {
        "FRESHET_KAFKA_PARTITIONS": "4",
        "FRESHET_KAFKA_REPLICATION": "1",
        "FRESHET_KAFKA_MIN_INSYNC": "1",
    }
    command = ["topics", "repair-clock", "--kafka", kafka.bootstrap, "--prefix", kafka.prefix, "--json", "-"]
    return CliRunner().invoke(app, [*command, *more], env=environ)


def ahead(result: Any) -> dict[tuple[str, int], float]:
    return {(each["step"], each["source"]): each["ahead_ms"] for each in json.loads(result.stdout)["ahead"]}


def all_told(result: Any) -> bool:
    """Whether every partition is named, by both steps; the worker has left, and its last commit stands."""
    steps = {(step, p) for step in ("join", "users") for p in range(4)}
    return not isinstance(result.exception, StartError) and ahead(result).keys() == steps


@contextmanager
def serving(data: Path, chosen: Settings) -> Iterator[httpx.Client]:
    parts, clock = build_parts(chosen), WallClock()
    backend = KafkaBackend(data, chosen, parts, clock, topics=followed_topics(chosen.kafka))
    worker = LiveWorker(Service(backend, parts, worker_config(chosen), clock))
    with worker, httpx.Client(base_url=worker.url, timeout=300) as client:
        yield client


def are_of_now(client: httpx.Client, clock: WallClock) -> bool:
    """Whether the marks that an answer has are of the present; a machine may stand still between the two."""
    marks = (
        client.post("/v1/recommend", json={"user_id": "after"}).json().get("versions", {}).get("marks", {})
    )
    return bool(marks) and all(abs(mark - clock.now_ms()) < 60_000 for mark in marks.values())


def late(worker: WorkerThread) -> int:
    running = [] if worker.worker is None else worker.worker.running()
    return sum(one.shard.step.counters["late"] for one in running if one.name == "join")  # type: ignore[attr-defined]


def test_after_the_repair_clicks_are_learned_again_and_servers_marks_are_true(
    chosen: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kafka, clock = chosen.kafka, WallClock()
    with serving(tmp_path / "s", chosen) as client:
        with WorkerThread(chosen) as worker:
            send(kafka, Tick(ts=int(clock.now_ms()) + YEAR))
            send(kafka, click("lost"))
            wait_until(lambda: late(worker) == 4)
            wait_until(lambda: "topics repair-clock" in client.get("/readyz").text)
            wait_until(lambda: "events/3 is 3153" in caplog.text)
            assert isinstance(refused := repair(kafka).exception, StartError)
            assert f"{kafka.prefix}join: " in str(refused)
        send(kafka, Tick(ts=int(clock.now_ms()) + YEAR))
        send(kafka, click("waited"))
        wait_until(lambda: all_told(repair(kafka, "--dry-run")))
        told = repair(kafka, "--dry-run")
        assert told.exit_code == 1 and all_told(told)
        assert YEAR - 600_000 < min(ahead(told).values()) <= max(ahead(told).values()) <= YEAR
        assert repair(kafka).exit_code == 0 and ahead(repair(kafka, "--dry-run")) == {}
        with WorkerThread(chosen):
            send(kafka, click("after"))
            found = outcomes(kafka, 8)  # the first start compiles
            wait_until(lambda: client.get("/readyz").status_code == 200)
            wait_until(lambda: are_of_now(client, clock))  # they were a year ahead
    assert found == {("organic", name, "tea"): 4 for name in ("waited", "after")}
