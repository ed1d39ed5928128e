"""Detectors of drift on Kafka: real workers give the embedded engine's alarms, one of them started anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from freshet.config import Settings
from freshet.run.serve_kafka import followed_topics
from freshet.run.worker import worker_config
from learning.parts import build_parts
from learning.settings import LearnSettings
from learning.testing_engines import Embedded
from serving.kafka.backend import KafkaBackend
from serving.service import Service
from stream.clock import WallClock
from stream.engine.worker_settings import WorkerSettings
from stream.events import ItemEvent, Tick
from stream.join import JoinSettings
from stream.kafka import KafkaSettings
from stream.kafka.topics import create_topics
from tests.harness.drift import N_SLATES, POLICIES, impressions, log
from tests.harness.live import LiveWorker, wait_until
from tests.harness.servers import send_events
from tests.harness.workers import WorkerThread

pytestmark = pytest.mark.kafka


def settings(kafka: KafkaSettings) -> Settings:
    return Settings(
        clock="event",
        kafka=msgspec.structs.replace(kafka, partitions=1),
        join=JoinSettings(window_ms=60_000, lateness_ms=1_000),
        learn=LearnSettings(embedding_dim=4, max_users=4_096, max_items=4_096, negatives=0),
        policies=tuple(POLICIES),
        measures=({"kind": "drift_alarms"}, {"kind": "part_notes"}),
        work=WorkerSettings(metrics_port=0),
    )


def figure(client: httpx.Client, name: str) -> dict[str, float]:
    """What the server measures under this name, by policy."""
    figures = client.get("/v1/measures").json()["figures"]
    values: list[dict[str, Any]] = [v for found in figures if found["name"] == name for v in found["values"]]
    return {value["labels"]["policy"]: value["value"] for value in values}


def test_a_worker_gives_the_alarms_of_the_embedded_engine_and_servers_learn_afresh_with_it(
    topics: KafkaSettings, tmp_path: Path
) -> None:
    chosen, clock = settings(topics), WallClock()
    create_topics(chosen.kafka)
    # Ticks are the worker's own there; the last event closes every window.
    plain = [event for event in log() if not isinstance(event, Tick)]
    events = [*plain, ItemEvent(item_id="same", ts=log()[-1].ts)]
    expected = impressions([Embedded(chosen).learn([log()]).parts])
    parts = build_parts(chosen)
    backend = KafkaBackend(tmp_path, chosen, parts, clock, topics=followed_topics(chosen.kafka))
    server = LiveWorker(Service(backend, parts, worker_config(chosen), clock))

    def served(holds: Callable[[], bool], worker: WorkerThread) -> None:
        wait_until(lambda: holds() or worker.has_ended())
        assert worker.reason is None

    with server, httpx.Client(base_url=server.url, timeout=300) as client:
        with WorkerThread(chosen) as worker:
            send_events(chosen.kafka, events[:1_500])
            served(lambda: sum(impressions([parts])["thompson"].values()) > 1_000, worker)
        with WorkerThread(chosen) as worker:
            send_events(chosen.kafka, events[1_500:])
            served(lambda: figure(client, "drift_alarms") == dict.fromkeys(expected, 2), worker)
            served(lambda: all(held["same"] == N_SLATES for held in impressions([parts]).values()), worker)
    # Ticks fall elsewhere, so an alarm comes some impressions earlier or later.
    for name, held in impressions([parts]).items():
        assert all(abs(shown - expected[name][item]) < 32 for item, shown in held.items()), (held, expected)
