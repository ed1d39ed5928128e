"""The step `train` on a real broker: one ranker for users of all partitions, and servers that follow it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import msgspec
import numpy as np
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from freshet.config import Settings
from learning.parts import build_parts
from learning.shards.train import TrainShard
from stream.clock import WallClock
from stream.codec import encode_events
from stream.engine.shard import SourceRecord
from stream.events import Click, Decision
from stream.join import JoinSettings
from stream.kafka import KafkaSettings
from stream.kafka.bundles import headers_of
from stream.kafka.partitioning import partition_of
from stream.kafka.topics import create_topics
from tests.harness.listening import ENTRY, Listening, install
from tests.harness.live import wait_until
from tests.harness.workers import WorkerThread
from tests.kafka.test_serve import LEARN, serving

pytestmark = pytest.mark.kafka

T0 = 1_700_000_000_000
USERS = [f"u{n}" for n in range(20)]


@pytest.fixture
def chosen(topics: KafkaSettings) -> Iterator[Settings]:
    create_topics(topics)
    join = JoinSettings(window_ms=60_000, lateness_ms=1_000)
    yield Settings(clock="event", kafka=topics, learn=LEARN, join=join)


def send_clicks(chosen: Settings, at: int = 0) -> None:
    """A decision for each user `at` ms later, and a click on what stands out by the first feature."""
    kafka, n_features = chosen.kafka, build_parts(chosen).ranker.n_features
    features = np.zeros((2, n_features), "<f4")
    features[1, 0] = 1.0
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap)
    for n, user in enumerate(USERS):
        decision = Decision(
            request_id=f"r{n + at}", ts=T0 + at + n, user_id=user, items=["tea", "mate"],
            propensities=[0.5, 0.5], policy="uniform", clusters=[0], weights=[1.0],
            features=features.tobytes(),
        )  # fmt: skip
        click = Click(ts=T0 + at + n, request_id=f"r{n + at}", user_id=user, item_id="mate")
        producer.send(
            kafka.topic("events"), encode_events([decision, click]), key=b"%d" % n,
            partition=partition_of(decision.request_id, kafka.partitions), headers=headers_of(False),
        )  # fmt: skip
    producer.close()


def test_the_ranker_learns_from_users_of_all_partitions_and_servers_follow(
    chosen: Settings, tmp_path: Path
) -> None:
    assert {partition_of(user, chosen.kafka.partitions) for user in USERS} == {0, 1, 2, 3}
    send_clicks(chosen)
    serve = msgspec.structs.replace(chosen.serve, ready_lag_ms=1 << 42)  # the clicks are years old
    served = msgspec.structs.replace(chosen, serve=serve)
    with WorkerThread(chosen), serving(tmp_path / "s", served, ready=False) as server:
        ranker = server.service.models.ranker
        before = ranker.weights.copy()
        wait_until(lambda: ranker.steps == len(USERS))
        assert ranker.unread == 0 and (ranker.weights > before).tolist() == [True] + [False] * (
            len(before) - 1
        )


class Later(WallClock):
    """A clock that is four seconds ahead, to which everything that was written is four seconds old."""

    def now_ms(self) -> float:
        return super().now_ms() + 4_000


def test_where_train_is_behind_owners_of_users_are_asked_for_fewer_lists_and_say_so_in_the_topic(
    chosen: Settings,
) -> None:
    quick = msgspec.structs.replace(chosen.engine, tick_ms=200)
    settings = msgspec.structs.replace(chosen, clock="wall", engine=quick)
    with (
        WorkerThread(settings, steps=("join", "users")),
        WorkerThread(settings, steps=("train",), clock=Later()) as trainer,
    ):

        def rates() -> list[float]:
            shards = trainer.worker.running() if trainer.worker is not None else []
            return [one.shard.step.rate for one in shards if isinstance(one.shard.step, TrainShard)]

        # The new rate comes back from the owners of users.
        wait_until(lambda: bool(rates()) and rates()[0] < 1, timeout_s=120)


def lists_of(worker: WorkerThread) -> Listening | None:
    """What learns whole lists in a worker that owns the partition of `training`."""
    running = worker.worker.running() if worker.worker is not None else []
    found = [one.shard.step.parts for one in running if isinstance(one.shard.step, TrainShard)]
    return cast(Listening, found[0].policies["listening"]) if found else None


def learned_at_once(chosen: Settings) -> Listening:
    """The same by one that reads the whole topic and is never replaced."""
    place = TopicPartition(chosen.kafka.topic("training"), 0)
    reader = KafkaConsumer(bootstrap_servers=chosen.kafka.bootstrap, isolation_level="read_committed")
    reader.assign([place])
    reader.seek_to_beginning(place)
    (end,) = reader.end_offsets([place]).values()
    train = TrainShard(0, chosen, chosen.kafka.partitions)
    while reader.position(place) < end:
        for record in reader.poll(200).get(place, []):
            train.on_records([SourceRecord(record.offset, record.value)])
    reader.close()
    return cast(Listening, train.parts.policies["listening"])


def test_a_train_that_was_replaced_learns_the_bits_of_one_that_never_was(
    chosen: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch)
    settings = msgspec.structs.replace(chosen, policies=(ENTRY,))
    for at in (0, 200_000):
        send_clicks(settings, at)
    with WorkerThread(settings, steps=("join", "users")):
        with WorkerThread(settings, steps=("train",)) as first:
            wait_until(lambda: (one := lists_of(first)) is not None and len(one.seen) == 40)
        send_clicks(settings, 400_000)  # which ends the lists before
        with WorkerThread(settings, steps=("train",)) as second:

            def has_all() -> bool:
                one, whole = lists_of(second), learned_at_once(settings)
                return one is not None and len(whole.seen) == 80 and bool((one.sum == whole.sum).all())

            wait_until(has_all)
