"""On Kafka, too, freshness is what a stopwatch says: for clicks of every way in, in a stall and without."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from kafka import KafkaProducer

from freshet.config import Settings, load_settings
from freshet.run.serve_kafka import followed_topics
from freshet.run.worker import worker_config
from learning.parts import build_parts
from serving.kafka.backend import KafkaBackend
from serving.service import Service
from stream.clock import WallClock
from stream.engine import EngineSettings
from stream.kafka import KafkaSettings
from stream.kafka.connection import admin_client
from stream.kafka.sources import SourceSettings
from stream.kafka.topics import create_topics
from tests.harness.live import LiveWorker, wait_until
from tests.harness.stopwatch import Stopwatch
from tests.harness.workers import WorkerThread

pytestmark = pytest.mark.kafka

CLOCK, HOUR_MS = WallClock(), 3_600_000
USER, POLICY, ITEM = "click_to_user_row", "click_to_policy_row", "item_to_retrievable"


@pytest.fixture
def chosen(topics: KafkaSettings) -> Settings:
    """Topics that are there, among them one of somebody else, with clicks."""
    views = f"{topics.prefix}views"
    topics = msgspec.structs.replace(
        topics,
        sources=(
            SourceSettings("click", {"item_id": "item", "user_id": "user", "ts": "$timestamp"}, topic=views),
        ),
    )
    create_topics(topics)
    with admin_client(topics) as admin:
        # A worker that finds it missing looks again minutes later.
        admin.create_topics({views: {"num_partitions": 1}}, wait_for_metadata=True)
    flags = {
        "learn": {"embedding_dim": 4, "max_users": 4_096, "max_items": 4_096},
        "engine": {"tick_ms": 200},
        "work": {"metrics_port": 0},
    }
    return msgspec.structs.replace(load_settings(environ={}, flags=flags), kafka=topics)


class Server:
    """A serving worker, a client of it, and what it measured."""

    def __init__(self, service: Service, client: httpx.Client) -> None:
        self.service, self.client = service, client

    def send(self, *events: dict[str, Any]) -> None:
        answer = self.client.post("/v1/events", json={"events": list(events)})
        assert answer.status_code == 202, answer.text

    def figure(self, name: str, what: str) -> float:
        return self._metric(f"freshet_{name}_seconds_{what} ")

    def waiting(self, name: str) -> float:
        return self._metric(f"freshet_{name}_waiting_seconds ")

    def _metric(self, name: str) -> float:
        lines = self.client.get("/metrics").text.splitlines()
        return next(float(line.split()[-1]) for line in lines if line.startswith(name))

    def knows(self, user: str) -> bool:
        return self.service.models.users.row_of(user) >= 0


@contextmanager
def serving(data: Path, chosen: Settings) -> Iterator[Server]:
    parts, clock = build_parts(chosen), WallClock()
    backend = KafkaBackend(data, chosen, parts, clock, topics=followed_topics(chosen.kafka))
    service = Service(backend, parts, worker_config(chosen), clock)
    worker = LiveWorker(service)
    with worker, httpx.Client(base_url=worker.url, timeout=300) as client:
        yield Server(service, client)


def test_a_click_of_a_topic_of_ones_own_counts_from_its_own_time(chosen: Settings, tmp_path: Path) -> None:
    producer = KafkaProducer(bootstrap_servers=chosen.kafka.bootstrap)
    with serving(tmp_path / "s", chosen) as server, WorkerThread(chosen):
        wait_until(lambda: server.service.readiness().ready)
        # A producer looks the topic up first; what it sends is as old as that is over.
        producer.partitions_for(f"{chosen.kafka.prefix}views")
        watch = Stopwatch()
        producer.send(f"{chosen.kafka.prefix}views", b'{"user": "ann", "item": "tea"}').get(300)
        watch.begun()
        wait_until(lambda: watch.sees(lambda: server.figure(USER, "count") == 1))
        assert watch.least_s <= server.figure(USER, "sum") <= watch.most_s
        assert server.knows("ann")
        # An organic click teaches no policy.
        assert server.figure(POLICY, "count") == 0
        wait_until(lambda: server.waiting(USER) == 0)
    producer.close()


def test_a_worker_says_how_many_records_each_partition_is_behind(chosen: Settings) -> None:
    producer = KafkaProducer(bootstrap_servers=chosen.kafka.bootstrap)
    # Ticks are records too, and there is always one more on a slow machine: here is none after the first.
    chosen = msgspec.structs.replace(chosen, engine=EngineSettings(tick_ms=HOUR_MS))
    with WorkerThread(chosen, steps=("join",)) as thread:
        wait_until(lambda: thread.worker is not None and len(thread.worker.lags) == 5)
        worker = thread.worker
        assert worker is not None
        views = f"{chosen.kafka.prefix}views"
        assert {lag.topic for lag in worker.lags} == {chosen.kafka.topic("events"), views}
        producer.send(views, b'{"user": "ann", "item": "tea"}').get(300)

        def is_learned() -> bool:
            found = [one.shard.position for one in worker.running() if one.name == f"source-{views}"]
            return found == [1] and {lag.records for lag in worker.lags} == {0}

        wait_until(is_learned)
    producer.close()


def test_a_stall_grows_at_every_kind_and_is_measured_when_it_ends(chosen: Settings, tmp_path: Path) -> None:
    names = (USER, POLICY, ITEM)
    with serving(tmp_path / "s", chosen) as server:
        ts = int(CLOCK.now_ms())
        with WorkerThread(chosen):
            wait_until(lambda: server.service.readiness().ready)
            server.send(*({"type": "item", "item_id": f"i{n}", "ts": ts} for n in range(4)))
            wait_until(lambda: server.figure(ITEM, "count") == 4)
            shown = server.client.post("/v1/recommend", json={"user_id": "ann", "request_id": "r1"}).json()
            wait_until(lambda: server.service.models.measures["policy_counts"].by_labels() != {})
        first = shown["items"][0]["item_id"]
        watches = {name: Stopwatch() for name in names}
        ts = int(CLOCK.now_ms())  # a click that is seconds older than its slate is none of it
        server.send(
            {"type": "click", "ts": ts, "user_id": "ann", "request_id": "r1", "item_id": first},
            {"type": "item", "item_id": "new", "ts": ts},
        )
        for watch in watches.values():
            watch.begun()
        before = {name: server.figure(name, "count") for name in names}
        assert list(before.values()) == [0, 0, 4]
        wait_until(lambda: all(server.waiting(name) > 3.0 for name in names))
        for name, watch in watches.items():
            waiting_s = watch.during(lambda name=name: server.waiting(name))  # type: ignore[misc]
            assert watch.least_s <= waiting_s <= watch.most_s
        sums = {name: server.figure(name, "sum") for name in names}

        def has_come(name: str) -> bool:
            return server.figure(name, "count") == before[name] + 1

        with WorkerThread(chosen):
            # Every watch is looked at each time: they stop at different times.
            wait_until(lambda: {watches[name].sees(partial(has_come, name)) for name in names} == {True})
            for name, watch in watches.items():
                assert watch.least_s <= server.figure(name, "sum") - sums[name] <= watch.most_s
            wait_until(lambda: all(server.waiting(name) == 0 for name in names))
