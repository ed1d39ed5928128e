"""History, and what waits after a stall, on real brokers: no partition is joined far ahead of the slowest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer

from stream.block_codec import decode_segment
from stream.blocks import SHOWN, FeedbackBlock
from stream.clock import WallClock
from stream.codec import encode_events
from stream.events import Decision
from stream.kafka import KafkaSettings
from stream.kafka.bundles import headers_of
from stream.kafka.topics import create_topics
from tests.harness.broker import wait_until
from tests.harness.workers import Follower, WorkerProcess

pytestmark = pytest.mark.kafka

T0, SKEW = 1_600_000_000_000, 60_000
MORE, JOIN = {"FRESHET_WORK_MAX_SKEW_MS": str(SKEW)}, ("-m", "freshet", "work", "--steps", "join")


class Shown(Follower):
    """When slates were shown: for each partition of `feedback`, in its order, the partition of `events` that
    each came from, and its time."""

    def __init__(self, settings: KafkaSettings) -> None:
        super().__init__(settings, ["feedback"])
        self.order: dict[int, list[tuple[int, int]]] = {n: [] for n in range(settings.partitions)}

    def take(self, record: Any) -> None:
        segment = decode_segment(record.value)
        if isinstance(segment, FeedbackBlock):
            refs = [ref for kind, ref in zip(segment.kind, segment.ref, strict=True) if kind == SHOWN]
            self.order[record.partition] += [(int(record.key), segment.slates[ref].ts) for ref in refs]

    def count(self) -> int:
        """How many there are by now."""
        self.look()
        return sum(map(len, self.order.values()))

    def ahead_ms(self) -> int:
        """How far the furthest was ahead of what another partition had still to give."""
        return max((_ahead(order) for order in self.order.values()), default=0)


def _ahead(order: Sequence[tuple[int, int]]) -> int:
    """The most by which one is later than what comes behind it from another source."""
    most, least = 0, dict[int, int]()
    for source, ts in reversed(order):
        others = [at for other, at in least.items() if other != source]
        most = max(most, ts - min(others, default=ts))
        least[source] = min(ts, least.get(source, ts))
    return most


@pytest.fixture
def ready(topics: KafkaSettings) -> KafkaSettings:
    create_topics(topics)
    return topics


@contextmanager
def two_workers(ready: KafkaSettings, folder: Path) -> Iterator[list[WorkerProcess]]:
    """Two that join; they end with the context."""
    found = [WorkerProcess(ready, folder / f"{n}.log", MORE, JOIN) for n in range(2)]
    try:
        yield found
    finally:
        for worker in found:
            worker.kill()


def send(ready: KafkaSettings, start_ms: int, *shown: Iterable[int], is_history: bool = True) -> int:
    """Slates that were shown at these seconds, a record each; their users belong to all partitions."""
    producer = KafkaProducer(bootstrap_servers=ready.bootstrap, acks="all", linger_ms=20)
    n_sent = 0
    for partition, seconds in enumerate(shown):
        for second in seconds:
            slate = Decision(
                request_id=f"r{n_sent}", ts=start_ms + 1_000 * second, user_id=f"u{n_sent % 16}",
                items=["a", "b"], propensities=[0.5, 0.5], policy="uniform", auto=True,
            )  # fmt: skip
            producer.send(
                ready.topic("events"),
                encode_events([slate]),
                partition=partition,
                headers=headers_of(is_history),
                timestamp_ms=None if is_history else slate.ts,
            )
            n_sent += 1
    producer.flush()
    producer.close()
    return n_sent


def test_two_workers_keep_in_step_over_histories_of_any_length_and_an_empty_one(
    ready: KafkaSettings, tmp_path: Path
) -> None:
    n_sent = send(ready, T0, range(0, 3_000, 2), range(0, 3_000, 60), range(1_500, 4_000, 10), [])
    shown = Shown(ready)
    with two_workers(ready, tmp_path):
        wait_until(lambda: shown.count() == n_sent, 240, "all of the history is joined")
    shown.close()
    assert 0 < shown.ahead_ms() <= SKEW


def test_a_worker_that_is_killed_holds_the_others_only_until_they_have_its_partitions(
    ready: KafkaSettings, tmp_path: Path
) -> None:
    n_sent = send(ready, T0, *[range(0, 6_000, 6 + n) for n in range(4)])
    shown = Shown(ready)
    with two_workers(ready, tmp_path) as (one, _):
        wait_until(lambda: shown.count() > n_sent // 8, 240, "some of the history is joined")
        one.kill()
        wait_until(lambda: shown.count() == n_sent, 240, "the other worker has joined the rest")
    shown.close()
    assert 0 < shown.ahead_ms() <= SKEW


def test_after_a_stall_what_waits_is_joined_in_step(ready: KafkaSettings, tmp_path: Path) -> None:
    stalled_ms = int(WallClock().now_ms()) - 3_600_000
    n_sent = send(ready, stalled_ms, *[range(0, 3_600 - 900 * n, 6) for n in range(4)], is_history=False)
    shown = Shown(ready)
    with two_workers(ready, tmp_path):
        wait_until(lambda: shown.count() == n_sent, 240, "all that waited is joined")
    shown.close()
    assert 0 < shown.ahead_ms() <= SKEW
