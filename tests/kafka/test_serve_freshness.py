"""On Kafka, too, freshness is what a stopwatch says: for clicks of every way in, in a stall and without."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import NewTopic

from freshet.config import Settings, load_settings
from freshet.run.serve_kafka import followed_topics
from freshet.run.worker import worker_config
from learning.parts import build_parts
from serving.kafka.backend import KafkaBackend
from serving.service import Service
from stream.clock import WallClock
from stream.kafka import KafkaSettings
from stream.kafka.sources import SourceSettings
from stream.kafka.topics import create_topics
from tests.harness.live import LiveWorker, wait_until
from tests.harness.workers import WorkerThread

pytestmark = pytest.mark.kafka

CLOCK = WallClock()
USER, POLICY, ITEM = "click_to_user_row", "click_to_policy_row", "item_to_retrievable"


@pytest.fixture
def chosen(topics: KafkaSettings) -> Settings:
    """Topics that are there, among them one of somebody else, with clicks."""
    views = f"{topics.prefix}views"
    topics = msgspec.structs.replace(
        topics,
        sources=(SourceSettings(views, "click", {"item_id": "item", "user_id": "user", "ts": "$timestamp"}),),
    )
    create_topics(topics)
    admin = KafkaAdminClient(bootstrap_servers=topics.bootstrap)
    admin.create_topics([NewTopic(views, num_partitions=1, replication_factor=1)])
    admin.close()
    flags = {
        "learn": {"embedding_dim": 4, "max_users": 4_096, "max_items": 4_096},
        "engine": {"tick_ms": 200},
        "work": {"session_s": 6.0, "metrics_port": 0},
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

    def knows(self, user: str) -> Callable[[], bool]:
        return lambda: self.service.models.users.row_of(user) >= 0


@contextmanager
def serving(data: Path, chosen: Settings) -> Iterator[Server]:
    parts, clock = build_parts(chosen), WallClock()
    backend = KafkaBackend(data, chosen, parts, clock, topics=followed_topics(chosen.kafka))
    service = Service(backend, parts, worker_config(chosen), clock)
    worker = LiveWorker(service)
    with worker, httpx.Client(base_url=worker.url, timeout=60) as client:
        yield Server(service, client)


def now_s() -> float:
    return CLOCK.now_ms() / 1e3


def within_ten_percent(stopwatch_s: float) -> Any:
    return pytest.approx(stopwatch_s, rel=0.1, abs=0.1)


def test_a_click_of_a_topic_of_ones_own_counts_from_its_own_time(chosen: Settings, tmp_path: Path) -> None:
    producer = KafkaProducer(bootstrap_servers=chosen.kafka.bootstrap)
    with serving(tmp_path / "s", chosen) as server, WorkerThread(chosen):
        wait_until(lambda: server.service.readiness().ready, timeout_s=60)
        # A producer looks the topic up first; what it sends is as old as that is over.
        producer.partitions_for(f"{chosen.kafka.prefix}views")
        began_s = now_s()
        producer.send(f"{chosen.kafka.prefix}views", b'{"user": "ann", "item": "tea"}').get(30)
        wait_until(server.knows("ann"), timeout_s=60)
        wait_until(lambda: server.figure(USER, "count") == 1)
        assert server.figure(USER, "sum") == within_ten_percent(now_s() - began_s)
        # An organic click teaches no policy.
        assert (server.figure(POLICY, "count"), server.waiting(USER)) == (0, 0)
    producer.close()


def test_a_worker_says_how_many_records_each_partition_is_behind(chosen: Settings) -> None:
    producer = KafkaProducer(bootstrap_servers=chosen.kafka.bootstrap)
    with WorkerThread(chosen, steps=("join",)) as thread:
        wait_until(lambda: thread.worker is not None and len(thread.worker.lags) == 5, timeout_s=60)
        worker = thread.worker
        assert worker is not None
        views = f"{chosen.kafka.prefix}views"
        assert {lag.topic for lag in worker.lags} == {chosen.kafka.topic("events"), views}
        (shard,) = (one.shard for one in worker.running() if one.name == f"source-{views}")
        producer.send(views, b'{"user": "ann", "item": "tea"}').get(30)
        wait_until(lambda: shard.position == 1 and {lag.records for lag in worker.lags} == {0}, timeout_s=60)
    producer.close()


def test_a_stall_grows_at_every_kind_and_is_measured_when_it_ends(chosen: Settings, tmp_path: Path) -> None:
    names = (USER, POLICY, ITEM)
    with serving(tmp_path / "s", chosen) as server:
        ts = int(CLOCK.now_ms())
        with WorkerThread(chosen):
            wait_until(lambda: server.service.readiness().ready, timeout_s=60)
            server.send(*({"type": "item", "item_id": f"i{n}", "ts": ts} for n in range(4)))
            wait_until(lambda: len(server.service.models.items) == 4, timeout_s=60)
            shown = server.client.post("/v1/recommend", json={"user_id": "ann", "request_id": "r1"}).json()
            wait_until(lambda: server.service.models.measures.snapshot()["policies"] != {}, timeout_s=60)
        began_s = now_s()
        first = shown["items"][0]["item_id"]
        server.send(
            {"type": "click", "ts": ts, "user_id": "ann", "request_id": "r1", "item_id": first},
            {"type": "item", "item_id": "new", "ts": ts},
        )
        before = [server.figure(name, "count") for name in names]
        assert before == [0, 0, 4]
        wait_until(lambda: all(server.waiting(name) > 3.0 for name in names))
        assert server.waiting(ITEM) == within_ten_percent(now_s() - began_s)
        sums = {name: server.figure(name, "sum") for name in names}
        took_s: dict[str, float] = {}

        def served() -> bool:
            """Stop the watch of each kind whose event has come."""
            for name, n in zip(names, before, strict=True):
                if server.figure(name, "count") == n + 1:
                    took_s.setdefault(name, now_s() - began_s)
            return len(took_s) == len(names)

        with WorkerThread(chosen):
            wait_until(served, timeout_s=60)
        for name in names:
            assert server.figure(name, "sum") - sums[name] == within_ten_percent(took_s[name])
            assert server.waiting(name) == 0
