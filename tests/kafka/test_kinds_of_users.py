"""`lin_ucb` on Kafka, with real workers: what one kind of user clicks is shown to that kind."""

from __future__ import annotations

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
from tests.harness.kinds import FAVOURITE, ITEMS, POLICY, firsts, items_at, round_of_clicks
from tests.harness.live import LiveWorker, wait_until
from tests.harness.workers import WorkerThread

pytestmark = pytest.mark.kafka

CLOCK = WallClock()


def now() -> int:
    return int(CLOCK.now_ms())


def settings(kafka: KafkaSettings) -> Settings:
    flags = {
        "policy": POLICY,
        "policies": [{"kind": "lin_ucb"}],
        "learn": {"embedding_dim": 4, "max_users": 4_096, "max_items": 4_096},
        "work": {"metrics_port": 0},
    }
    return msgspec.structs.replace(load_settings(environ={}, flags=flags), kafka=kafka)


def notes(client: httpx.Client) -> dict[tuple[str, str], float]:
    """What the server says that parts note of themselves, by part and name."""
    figures = client.get("/v1/measures").json()["figures"]
    found = [figure["values"] for figure in figures if figure["name"] == "part_note"]
    return {(v["labels"]["part"], v["labels"]["note"]): v["value"] for values in found for v in values}


def test_a_click_by_one_kind_of_user_changes_what_that_kind_is_shown_and_not_the_other(
    topics: KafkaSettings, tmp_path: Path
) -> None:
    create_topics(topics)
    chosen = settings(topics)
    parts = build_parts(chosen)
    backend = KafkaBackend(tmp_path, chosen, parts, CLOCK, topics=followed_topics(chosen.kafka))
    server = LiveWorker(Service(backend, parts, worker_config(chosen), CLOCK))
    with WorkerThread(chosen) as worker, server, httpx.Client(base_url=server.url, timeout=300) as client:

        def ask(**body: Any) -> dict[str, Any]:
            answer = client.post("/v1/recommend", json=body)
            assert answer.status_code == 200, answer.text
            found: dict[str, Any] = answer.json()
            return found

        def absorbed(events: list[dict[str, Any]]) -> None:
            # What was decided goes another way than what was clicked.
            wait_until(lambda: backend.log.n_waiting == 0)
            answer = client.post("/v1/events", json={"events": events})
            assert answer.status_code == 202, answer.text
            at = answer.json()["accepted_at"]
            wait_until(lambda: server.learned_up_to() >= at or worker.has_ended())
            assert worker.reason is None

        absorbed(items_at(now()))
        for first in range(0, 240, 30):
            absorbed(round_of_clicks(ask, now, first, 30))
        # What the policy notes of itself where it learns is shown where it serves.
        wait_until(lambda: notes(client).get(("lin_ucb", "arms")) == len(ITEMS))
        phone, desk = firsts(ask, "phone", 1_000, 40), firsts(ask, "desk", 2_000, 40)
    assert phone[FAVOURITE["phone"]] > 30 > 10 > phone[FAVOURITE["desk"]]
    assert desk[FAVOURITE["desk"]] > 30 > 10 > desk[FAVOURITE["phone"]]
