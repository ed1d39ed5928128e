"""Content on Kafka: sums of all partitions make one map, and a new item is shown to those of its kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import httpx
import msgspec
import pytest

from freshet.config import load_settings
from freshet.run.serve_kafka import followed_topics
from freshet.run.worker import worker_config
from learners.parts.content_map import ContentMap
from learning.parts import build_parts
from serving.kafka.backend import KafkaBackend
from serving.service import Service
from stream.clock import WallClock
from stream.kafka import KafkaSettings
from stream.kafka.topics import create_topics
from tests.harness.live import LiveWorker, wait_until
from tests.harness.new_items import SETTINGS, clicks_on_old, new_items, old_items, share_of_right
from tests.harness.workers import WorkerThread

pytestmark = pytest.mark.kafka

T0 = 1_700_000_000_000


def test_a_new_item_is_shown_to_users_of_its_kind_before_any_click(
    topics: KafkaSettings, tmp_path: Path
) -> None:
    create_topics(topics)
    flags = {"clock": "event", **SETTINGS, "work": {"metrics_port": 0}}
    chosen = msgspec.structs.replace(load_settings(environ={}, flags=flags), kafka=topics)
    parts, clock = build_parts(chosen), WallClock()
    backend = KafkaBackend(tmp_path / "s", chosen, parts, clock, topics=followed_topics(chosen.kafka))
    server = LiveWorker(Service(backend, parts, worker_config(chosen), clock))
    content = cast(ContentMap, parts.more["content_map"])
    with WorkerThread(chosen) as worker, server, httpx.Client(base_url=server.url, timeout=300) as client:

        def absorbed(*events: dict[str, Any]) -> None:
            at = client.post("/v1/events", json={"events": list(events)}).json()["accepted_at"]
            wait_until(lambda: server.learned_up_to() >= at or worker.has_ended())
            assert worker.reason is None

        absorbed(*old_items(T0), *clicks_on_old(lambda n: T0 + 100 + n * 100))
        absorbed(*new_items(T0 + 90_000))
        wait_until(lambda: content.notes()["items"] == 20 and len(parts.items) == 22)
        assert share_of_right(lambda **body: client.post("/v1/recommend", json=body).json()) > 0.75
