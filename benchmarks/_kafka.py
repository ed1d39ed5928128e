"""A broker, workers and a steady world for the figures on Kafka."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from stream.codec import encode_events
from stream.errors import LogError
from stream.events import Click, Decision, ItemEvent
from stream.kafka.bundles import headers_of
from stream.kafka.partitioning import partition_of
from stream.kafka.settings import KafkaSettings

__all__ = [
    "N_PARTITIONS",
    "SLATE",
    "World",
    "broker_in",
    "fresh_topics",
    "organic_click",
    "scratch",
    "send",
    "worker_settings",
]

SLATE, CLUSTERS, CLICK_SHARE = 20, 4, 0.05
N_PARTITIONS = 4
_N_ITEMS, _N_USERS = 3_000, 10_000
_BUNDLE = 100

Record = tuple[int, str, bytes]


@contextmanager
def broker_in(folder: Path) -> Iterator[Any]:
    """A broker that answers, or None where there is none or no client for it."""
    try:
        from tests.harness.broker import NoBrokerError, running_broker
    except (ImportError, LogError):
        yield None
        return
    place = folder / "broker"
    place.mkdir()
    try:
        with running_broker(place, os.environ.get("FRESHET_TEST_KAFKA")) as broker:
            yield broker
    except NoBrokerError:
        yield None


def worker_settings(**more: str) -> Mapping[str, str]:
    """What `freshet work` is told here: the defaults, but for windows that close while it is measured."""
    return {
        "FRESHET_CLOCK": "event",
        "FRESHET_JOIN_WINDOW_MS": "2000",
        "FRESHET_JOIN_LATENESS_MS": "1000",
        "FRESHET_LEARN_EMBEDDING_DIM": "64",
        "FRESHET_LEARN_MAINTAIN_MS": "60000",
        "FRESHET_POLICY_OTHERS": '["uniform"]',
        "FRESHET_SHARD_SNAPSHOT_S": "60",
        "FRESHET_SHARD_COMMIT_S": "5",
        "FRESHET_WORK_SESSION_S": "15",
        **more,
    }


class World:
    """Slates of 20 from 3,000 items by Zipf for 10,000 users, K = 4, one click in twenty places; time goes on
    a ms a slate, so that windows close at the rate at which they open. Times of another century would make
    every click and item a dead letter."""

    def __init__(self, seed: int = 0, start_ms: int = 1_700_000_000_000) -> None:
        self._start_ms = start_ms
        self._rng = np.random.default_rng(seed)
        weights = 1.0 / np.arange(1, _N_ITEMS + 1) ** 0.8
        self._popular = np.cumsum(weights / weights.sum())
        self.items = [f"item-{n}" for n in range(_N_ITEMS)]
        self._n = 0

    def catalogue(self) -> list[Record]:
        """Every item once."""
        bundles: dict[int, list[ItemEvent]] = {}
        for name in self.items:
            bundles.setdefault(partition_of(name, N_PARTITIONS), []).append(
                ItemEvent(item_id=name, ts=self._start_ms)
            )
        return [(p, items[0].item_id, encode_events(items)) for p, items in bundles.items()]

    def visits(self, n_users: int) -> list[Record]:
        """One organic click of each of so many users, in arrays."""
        bundles: dict[int, list[Click]] = {}
        done: list[Record] = []
        for n in range(n_users):
            user = f"visitor-{n}"
            click = Click(ts=self._start_ms, user_id=user, item_id=self.items[n % 500])
            waiting = bundles.setdefault(partition_of(user, N_PARTITIONS), [])
            waiting.append(click)
            if len(waiting) == _BUNDLE:
                done.append(
                    (partition_of(user, N_PARTITIONS), str(waiting[0].user_id), encode_events(waiting))
                )
                waiting.clear()
        left = [(p, str(waiting[0].user_id), waiting) for p, waiting in bundles.items() if waiting]
        return done + [(p, first, encode_events(waiting)) for p, first, waiting in left]

    def skip(self, n_slates: int) -> None:
        """Leave out what another world has sent already."""
        self._n += n_slates

    def records(self, n_slates: int, bundle: int = _BUNDLE) -> list[Record]:
        """Arrays of about `bundle` requests, each a decision and its clicks, as the gateway writes them."""
        rng, done = self._rng, []
        open_ones: dict[int, tuple[str, list[Any]]] = {}
        for _ in range(n_slates):
            self._n += 1
            ts, request = self._start_ms + self._n, f"r{self._n}"
            drawn = dict.fromkeys(np.searchsorted(self._popular, rng.random(4 * SLATE)).tolist())
            shown = [self.items[rank] for rank in list(drawn)[:SLATE]]
            user = f"user-{rng.integers(_N_USERS)}"
            events: list[Any] = [
                Decision(
                    request_id=request, ts=ts, user_id=user, items=shown, propensities=[0.05] * len(shown),
                    policy="diag_lin_ucb", clusters=rng.choice(64, CLUSTERS, replace=False).tolist(),
                    weights=[0.4, 0.3, 0.2, 0.1],
                )
            ]  # fmt: skip
            for place in np.flatnonzero(rng.random(len(shown)) < CLICK_SHARE).tolist():
                events.append(Click(ts=ts + 1, request_id=request, user_id=user, item_id=shown[place]))
            place = partition_of(request, N_PARTITIONS)
            first, waiting = open_ones.setdefault(place, (request, []))
            waiting += events
            if len(waiting) >= 2 * bundle - 1:
                done.append((place, first, encode_events(waiting)))
                del open_ones[place]
        return done + [(p, first, encode_events(waiting)) for p, (first, waiting) in open_ones.items()]


def organic_click(user: str, item: str, ts: int) -> Record:
    """A click that names no request."""
    click = Click(ts=ts, user_id=user, item_id=item)
    return partition_of(user, N_PARTITIONS), user, encode_events([click])


def send(producer: Any, settings: KafkaSettings, records: list[Record]) -> None:
    """Write records into `events` and wait until the brokers have them."""
    for partition, key, value in records:
        producer.send(
            settings.topic("events"), value, key=key.encode(), partition=partition, headers=headers_of(False)
        )
    producer.flush()


def fresh_topics(broker: Any, name: str) -> KafkaSettings:
    """Topics of their own for one figure."""
    from stream.kafka.topics import create_topics

    settings: KafkaSettings = broker.settings(prefix=f"{name}-{os.getpid()}-", partitions=N_PARTITIONS)
    create_topics(settings)
    return settings


def until(rows: Any, worker: Any, holds: Callable[[], bool], limit_s: float = 300.0) -> float:
    """Follow the rows until something holds of them; when the last of them came (`perf_counter`)."""
    end_s = perf_counter() + limit_s
    last_s = perf_counter()
    while perf_counter() < end_s:
        if rows.look(200):
            last_s = perf_counter()
        elif holds():  # looked at when nothing comes: it costs more than following
            return last_s
    msg = f"not learned in {limit_s:g} s\n{worker.said()[-2_000:]}"
    raise TimeoutError(msg)


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder that goes away."""
    return tempfile.TemporaryDirectory(prefix="freshet-kafka-")
