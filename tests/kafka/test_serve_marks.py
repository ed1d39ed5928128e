"""A step that nobody runs is seen: in the answers' marks, in `stale`, and in readiness."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from freshet.config import Settings, load_settings
from freshet.run.serve_kafka import followed_topics
from freshet.run.worker import worker_config
from learning.parts import build_parts
from serving.kafka.backend import KafkaBackend
from serving.service import Service
from stream.clock import WallClock
from stream.kafka import KafkaSettings
from stream.kafka.topics import create_topics
from tests.harness.live import LiveWorker, wait_until
from tests.harness.workers import WorkerThread

pytestmark = pytest.mark.kafka


@pytest.fixture
def chosen(topics: KafkaSettings) -> Settings:
    """Topics that are there, quick ticks, and five seconds until a mark is old."""
    create_topics(topics)
    made = load_settings(
        environ={},
        flags={
            "learn": {"embedding_dim": 4, "max_users": 4_096, "max_items": 4_096},
            "engine": {"tick_ms": 200},
            "serve": {"ready_lag_ms": 5_000},
            "work": {"metrics_port": 0},
        },
    )
    return msgspec.structs.replace(made, kafka=topics)


@contextmanager
def serving(data: Path, chosen: Settings) -> Iterator[httpx.Client]:
    parts, clock = build_parts(chosen), WallClock()
    backend = KafkaBackend(data, chosen, parts, clock, topics=followed_topics(chosen.kafka))
    worker = LiveWorker(Service(backend, parts, worker_config(chosen), clock))
    with worker, httpx.Client(base_url=worker.url, timeout=300) as client:
        yield client


def ask(client: httpx.Client, **body: Any) -> dict[str, Any]:
    found: dict[str, Any] = client.post("/v1/recommend", json={"user_id": "ann", **body}).json()
    return found


def marks_of(answer: dict[str, Any]) -> list[int]:
    """Of items, policies and users."""
    return [answer["versions"]["marks"][kind] for kind in ("items", "policies", "users")]


def ready(client: httpx.Client) -> bool:
    return client.get("/readyz").status_code == 200


def kinds_behind(client: httpx.Client) -> set[str]:
    """The kinds that readiness names."""
    told = client.get("/readyz").json().get("detail", "")
    return {kind for kind in ("items", "policies", "trained") if f"{kind} (" in told}


def test_the_exploring_half_that_stands_still_is_not_well(chosen: Settings, tmp_path: Path) -> None:
    now = int(WallClock().now_ms())
    events = [
        {"type": "item", "item_id": "tea", "ts": now},
        {"type": "click", "user_id": "ann", "item_id": "tea", "ts": now},
    ]
    with serving(tmp_path / "s", chosen) as client:
        with WorkerThread(chosen):
            wait_until(lambda: ready(client) and not ask(client)["stale"])
            assert min(ask(client)["versions"]["marks"].values()) > now - 5_000
        with WorkerThread(chosen, steps=("join", "users")):
            accepted_at = client.post("/v1/events", json={"events": events}).json()["accepted_at"]
            # `after` waits for the user's mark alone, which goes on.
            wait_until(lambda: ask(client, after=accepted_at)["absorbed_at"] >= accepted_at)
            wait_until(lambda: kinds_behind(client) == {"items", "policies", "trained"})
            # What the first worker said of items and policies lies in two topics.
            wait_until(lambda: marks_of(ask(client))[0] == marks_of(ask(client))[1])
            answer = ask(client)
            items, policies, users = marks_of(answer)
            assert items == policies < accepted_at <= users == answer["absorbed_at"]
            assert answer["stale"] is True and client.get("/v1/items/tea").status_code == 404
            assert not ready(client)
        with WorkerThread(chosen, steps=("join", "users", "items")):
            wait_until(lambda: kinds_behind(client) == {"trained"})
            wait_until(lambda: "step `train`" in client.get("/readyz").text)
            assert ask(client)["stale"]
        with WorkerThread(chosen):
            wait_until(lambda: ready(client) and not ask(client)["stale"])
            assert client.get("/v1/items/tea").status_code == 200
