"""Every policy learns on Kafka what it learns embedded, and serves there with the share that it logs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from kafka import KafkaConsumer, TopicPartition

from bandits import Context, Reach
from freshet.config import Settings
from freshet.run.serve_kafka import followed_topics
from freshet.run.worker import worker_config
from learning.parts import Parts, build_parts
from learning.rows.follow import RowFollower
from learning.settings import LearnSettings, PolicySettings
from learning.testing_engines import Embedded
from learning.testing_told import Told, told
from serving.kafka.backend import KafkaBackend
from serving.kafka.consumer import RowConsumer
from serving.service import Service
from stream.clock import WallClock
from stream.engine.worker_settings import WorkerSettings
from stream.events import Click, Decision, ItemEvent, LoggedEvent
from stream.kafka import KafkaSettings
from stream.kafka.topics import create_topics
from tests.harness.live import LiveWorker, wait_until
from tests.harness.servers import events_in, send_events
from tests.harness.workers import WorkerThread

pytestmark = pytest.mark.kafka

START, N_ITEMS, SLATE = 1_700_000_000_000, 60, 8
# The scale of numeric features rests on the first impressions, and each partition has others: here on all.
_ALL = {"freeze_rows": 1_000_000}
POLICIES: tuple[dict[str, Any], ...] = (
    {"kind": "diag_lin_ucb"},
    {"kind": "lin_ucb", **_ALL},
    {"kind": "lin_ucb", "name": "shared", "form": "shared", "attributes": ["genre", "length"], **_ALL},
    {"kind": "epsilon_greedy"},
    {"kind": "thompson"},
    {"kind": "uniform"},
    # The log below is two hundred seconds long.
    {"kind": "thompson", "name": "fading", "half_life_ms": 60_000},
    {"kind": "diag_lin_ucb", "name": "last_minute", "window_ms": 60_000, "window_parts": 3},
)
NAMES = [str(entry.get("name", entry["kind"])) for entry in POLICIES]
# Exact in binary, so that sums are equal in any order; no centroid ever has these numbers.
_CLUSTERS, _WEIGHTS = [900, 901, 902], [0.5, 0.25, 0.25]


def settings(kafka: KafkaSettings) -> Settings:
    made = Settings(
        clock="event",
        kafka=kafka,
        learn=LearnSettings(embedding_dim=4, max_users=4_096, max_items=4_096),
        policy=PolicySettings(epsilon=1.0, features=("device", "hour"), feature_dim=4),
        policies=POLICIES,
        work=WorkerSettings(metrics_port=0),
    )
    # The rows are years old by their events: that is no reason not to serve them here.
    return msgspec.structs.replace(made, serve=msgspec.structs.replace(made.serve, ready_lag_ms=1 << 42))


def catalogue(n: int) -> list[LoggedEvent]:
    return [
        ItemEvent(item_id=f"i{k}", ts=START, attributes={"genre": "abc"[k % 3], "length": k % 5})
        for k in range(n)
    ]


def decided(n: int, n_items: int = N_ITEMS) -> list[LoggedEvent]:
    """`n` decisions with their contexts, and clicks on them."""
    rng, events = np.random.default_rng(7), list[LoggedEvent]()
    while len(events) < n:
        at = len(events)
        ts, shown = START + 1_000 + 10 * at, rng.choice(n_items, SLATE, replace=False)
        user, items = f"u{rng.integers(2_000)}", [f"i{k}" for k in shown]
        decision = Decision(
            request_id=f"r{at}", ts=ts, user_id=user, items=items, propensities=[0.5] * SLATE,
            policy="lin_ucb", clusters=_CLUSTERS, weights=_WEIGHTS, explored=[0],
            context={"device": ("phone", "desk")[at % 2], "hour": at % 24},
        )  # fmt: skip
        liked = [k for k in shown if rng.random() < (0.4 if k % 3 == at % 2 else 0.05)]
        clicks = [Click(ts=ts + 5, request_id=f"r{at}", user_id=user, item_id=f"i{k}") for k in liked]
        events += [decision, *clicks]
    return events[:n]


class Reader:
    """What a serving worker would know: all rows of the topics, in parts of its own."""

    def __init__(self, chosen: Settings) -> None:
        self.parts: Parts = build_parts(chosen)
        self._settings = chosen
        self._follower, self._consumer = RowFollower(chosen), RowConsumer(chosen.kafka, None)

    def look(self) -> None:
        for record in self._consumer.poll(0.2, 20_000):
            self._follower.add(record.topic, record.partition, record.key, record.value)
        frame = self._follower.take()
        for name, part in self.parts.named().items():
            if frame.get(name):
                part.apply(frame[name])

    def until(self, condition: Any) -> Parts:
        def holds() -> bool:
            self.look()
            return bool(condition(self.parts))

        wait_until(holds)
        return self.parts

    def whole(self) -> Parts:
        """All that the topics hold now."""
        kafka = self._settings.kafka
        plain = KafkaConsumer(bootstrap_servers=kafka.bootstrap)
        places = [
            (name, TopicPartition(kafka.topic(name), number))
            for name, offsets in self._consumer.offsets().items()
            for number in range(len(offsets))
        ]
        ends = plain.end_offsets([place for _, place in places])
        plain.close()

        def is_read(_: Parts) -> bool:
            offsets = self._consumer.offsets()
            return all(offsets[name][place.partition] >= ends[place] for name, place in places)

        return self.until(is_read)

    def close(self) -> None:
        self._consumer.close()


@contextmanager
def reading(chosen: Settings) -> Iterator[Reader]:
    reader = Reader(chosen)
    try:
        yield reader
    finally:
        reader.close()


def n_shown(parts: Parts) -> int:
    """Impressions that the slowest policy has learned."""
    shared = parts.policies["shared"].export("shared", np.zeros(1, np.int32))["shown"]
    by_item = [
        sum(
            int(columns["shown"].sum())
            for columns in held(parts, name)["item"].values()
            if "shown" in columns
        )
        for name in NAMES
        if name not in {"shared", "uniform"}
    ]
    return min(int(shared), *by_item)


def held(parts: Parts, name: str) -> dict[str, Told]:
    policy = parts.policies[name]
    return {side: told(policy, parts, side) for side in policy.spec.sides}


def n_impressions(events: Sequence[LoggedEvent]) -> int:
    return SLATE * sum(isinstance(event, Decision) for event in events)


def n_clicks(events: Sequence[LoggedEvent]) -> int:
    return sum(isinstance(event, Click) for event in events)


def reward(parts: Parts) -> float:
    found = held(parts, "epsilon_greedy")["item"].values()
    return float(sum(columns["reward"].sum() for columns in found if "reward" in columns))


def test_twenty_thousand_events_teach_every_policy_the_same_on_both_engines(topics: KafkaSettings) -> None:
    create_topics(topics)
    chosen, items, events = settings(topics), catalogue(N_ITEMS), decided(20_000)
    embedded = Embedded(chosen).learn([items, *(events[n : n + 500] for n in range(0, 20_000, 500))]).parts
    with WorkerThread(chosen), WorkerThread(chosen), reading(chosen) as server:
        send_events(topics, items)
        # Attributes must be there before what is learned with them.
        server.until(lambda parts: len(parts.items) == N_ITEMS)
        send_events(topics, events)
        total, clicks = n_impressions(events), n_clicks(events)
        found = server.until(lambda parts: n_shown(parts) == total and reward(parts) == clicks)
        assert n_shown(embedded) == total and reward(embedded) == clicks > 1_000
        for name in found.policies:
            assert_same(held(found, name), held(embedded, name))


def test_what_is_logged_with_an_answer_is_the_share_that_the_published_state_gives_it(
    topics: KafkaSettings, tmp_path: Path
) -> None:
    """Nothing is learned while it is asked, so what else counts are the answers on their way."""
    create_topics(topics)
    chosen, items, events = settings(topics), catalogue(12), decided(2_000, n_items=10)
    with ExitStack() as served_by, ExitStack() as learning, reading(chosen) as reader:
        learning.enter_context(WorkerThread(chosen))
        send_events(topics, items)
        reader.until(lambda parts: len(parts.items) == 12)
        send_events(topics, events)
        reader.until(
            lambda parts: n_shown(parts) == n_impressions(events) and reward(parts) == n_clicks(events)
        )
        # A server is ready beside a live worker only: the marks of a stopped one are soon too old.
        service, client = served_by.enter_context(serving(tmp_path, chosen))
        learning.close()
        published = reader.whole()
        wait_until(lambda: all(serves(service.models, published, name) for name in NAMES))
        asked = [
            {
                "user_id": f"new{number}",
                "k": 12,
                "policy": name,
                "context": {"device": "phone", "hour": number},
            }
            for number in range(24)
            for name in NAMES
        ]
        for number, body in enumerate(asked):
            answer = client.post("/v1/recommend", json={"request_id": f"a{number}", **body})
            assert answer.status_code == 200, answer.text
        wait_until(lambda: service.backend.log.n_waiting == 0)
        decisions = [event for _, _, event in events_in(topics) if isinstance(event, Decision)]
        served = sorted((d for d in decisions if d.request_id[0] == "a"), key=lambda d: int(d.request_id[1:]))
        assert [decision.policy for decision in served] == [body["policy"] for body in asked]
        for decision in served:
            np.testing.assert_allclose(decision.propensities, shares(published, decision), rtol=1e-7)
            published.policies[decision.policy].served(published.items.find(decision.items))


def shares(parts: Parts, decision: Decision) -> Any:
    """The probability of each item at its place, among those that may be shown and stand not above it."""
    policy, rows = parts.policies[decision.policy], parts.items.find(decision.items)
    clusters, weights = np.array(decision.clusters, np.int32), np.array(decision.weights, np.float32)
    context = Context(clusters, weights, parts.request_features.of(decision.context))
    reach = policy.reach(context)
    left = parts.items.live if isinstance(reach, Reach) else reach
    out = []
    for row in rows.tolist():
        out.append(policy.probability(context, left, row))
        left = left[left != row]
    return out


@contextmanager
def serving(data: Path, chosen: Settings) -> Iterator[tuple[Any, httpx.Client]]:
    parts, clock = build_parts(chosen), WallClock()
    backend = KafkaBackend(data, chosen, parts, clock, topics=followed_topics(chosen.kafka))
    worker = LiveWorker(Service(backend, parts, worker_config(chosen), clock))
    with worker, httpx.Client(base_url=worker.url, timeout=300) as client:
        wait_until(lambda: worker.service.readiness().ready)
        yield worker.service, client


def serves(found: Parts, published: Parts, name: str) -> bool:
    """Whether a server's copy has come to what is published; it may be in the middle of a commit."""
    try:
        assert_same(held(found, name), held(published, name))
    except (AssertionError, LookupError, ValueError):
        return False
    return True


def assert_same(found: dict[str, Told], expected: dict[str, Told]) -> None:
    assert found.keys() == expected.keys()
    for side, by_id in expected.items():
        assert found[side].keys() == by_id.keys()
        for name, columns in by_id.items():
            assert found[side][name].keys() == columns.keys()
            for column, values in columns.items():
                np.testing.assert_allclose(found[side][name][column], values, rtol=0, atol=1e-9)
