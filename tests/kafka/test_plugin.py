"""A policy of another package on Kafka: a worker learns it, a server decides by it, over real brokers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import httpx
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

PLUGIN = Path(__file__).resolve().parents[1] / "plugin" / "boltzmann" / "freshet_boltzmann.py"
T0 = 1_700_000_000_000


@pytest.fixture
def chosen(topics: KafkaSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with the plugin's policy alone, and its package on Python's path as an installer writes it."""
    info = tmp_path / "site" / "freshet_boltzmann-1.0.dist-info"
    info.mkdir(parents=True)
    shutil.copy(PLUGIN, info.parent)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: freshet-boltzmann\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[freshet.parts]\npolicies.boltzmann = freshet_boltzmann\n")
    monkeypatch.syspath_prepend(str(info.parent))
    create_topics(topics)
    flags = {
        "clock": "event",
        "policy": {"epsilon": 1.0},
        "policies": [{"kind": "boltzmann", "name": "warm", "temperature": 0.05}],
        "learn": {"embedding_dim": 4, "max_users": 4_096, "max_items": 4_096},
        "join": {"window_ms": 500, "lateness_ms": 1_000},
        "work": {"metrics_port": 0},
        "kafka": {"bootstrap": topics.bootstrap, "prefix": topics.prefix, "partitions": topics.partitions},
    }
    return load_settings(environ={}, flags=flags)


def test_a_click_teaches_a_plugins_policy_through_the_topics(chosen: Settings, tmp_path: Path) -> None:
    parts, clock = build_parts(chosen), WallClock()
    backend = KafkaBackend(tmp_path / "s", chosen, parts, clock, topics=followed_topics(chosen.kafka))
    server = LiveWorker(Service(backend, parts, worker_config(chosen), clock))
    with WorkerThread(chosen) as worker, server, httpx.Client(base_url=server.url, timeout=300) as client:

        def absorbed(*events: dict[str, Any]) -> None:
            # What was decided goes another way than what was clicked.
            wait_until(lambda: backend.log.n_waiting == 0)
            at = client.post("/v1/events", json={"events": list(events)}).json()["accepted_at"]
            wait_until(lambda: server.learned_up_to() >= at or worker.has_ended())
            assert worker.reason is None

        absorbed(*({"type": "item", "item_id": f"i{k}", "ts": T0 + k} for k in range(8)))
        first = client.post("/v1/recommend", json={"user_id": "ann", "request_id": "r1", "k": 4}).json()
        best = first["items"][0]["item_id"]
        absorbed({"type": "click", "user_id": "ann", "request_id": "r1", "item_id": best, "ts": T0 + 200})
        assert client.get(f"/v1/items/{best}").json()["clicks"] == 1
        second = client.post("/v1/recommend", json={"user_id": "bob", "k": 4}).json()
    assert first["policy"] == second["policy"] == "warm" and first["items"][0]["propensity"] == 0.125
    assert second["items"][0]["item_id"] == best and second["items"][0]["propensity"] > 0.99
