"""Real workers on Kafka to kill, a plain producer beside them, and an exact count of what must come out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from stream.block_codec import decode_segment
from stream.blocks import CLICK, CLOSED, ORGANIC, SHOWN, FeedbackBlock, ItemsBlock
from stream.clock import Clock, WallClock
from stream.codec import encode_events
from stream.events import EVENT_SCHEMA, Click, Decision, ItemEvent, LoggedEvent
from stream.kafka import KafkaSettings
from stream.kafka.partitioning import partition_of, routing_id

__all__ = ["Load", "WorkerProcess", "outcomes"]

Outcome = tuple[str, ...]

_NAMES = {SHOWN: "shown", CLICK: "click", CLOSED: "closed"}


class WorkerProcess:
    """One `freshet work` in a process of its own, with sessions and windows as short as a test needs.

    Args:
        settings: where the brokers are.
        log: file that gets what it says.
        more: further settings, by variable.
    """

    def __init__(self, settings: KafkaSettings, log: Path, more: dict[str, str] | None = None) -> None:
        self._log = log
        self._command = [sys.executable, "-m", "freshet", "work", "--kafka", settings.bootstrap]
        self._command += ["--prefix", settings.prefix]
        self._environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("FRESHET_")},
            "FRESHET_KAFKA_PARTITIONS": str(settings.partitions),
            "FRESHET_KAFKA_REPLICATION": "1",
            "FRESHET_KAFKA_MIN_INSYNC": "1",
            "FRESHET_JOIN_WINDOW_MS": "1000",
            "FRESHET_JOIN_LATENESS_MS": "5000",
            "FRESHET_SHARD_SNAPSHOT_S": "2",
            "FRESHET_SHARD_COMMIT_S": "1",
            "FRESHET_WORK_SESSION_S": "3",
            "FRESHET_WORK_HEARTBEAT_S": "0.5",
            **(more or {}),
        }
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(self._command, env=self._environ, stdout=log, stderr=log)

    def said(self) -> str:
        """All that it has said, over all its lives."""
        return self._log.read_text("utf-8", "replace")

    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def kill(self) -> None:
        """As a crash would."""
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        """Stop it in the middle of whatever it does."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on as if nothing had been."""
        self.process.send_signal(signal.SIGCONT)

    def revive(self) -> None:
        """Start it again if it has ended, as a supervisor would."""
        if not self.is_alive():
            self.process = self._start()

    def stop(self) -> int:
        """Ask it to end; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.kill()
            raise


class Load:
    """A plain producer that keeps count: decisions, clicks on them, organic clicks, items, some sent twice.

    Args:
        settings: where the brokers are.
        rng: draws users, items and what comes twice.
        clock: the events' time.
    """

    def __init__(self, settings: KafkaSettings, rng: np.random.Generator, clock: Clock | None = None) -> None:
        self._settings = settings
        self._rng = rng
        self._clock = clock or WallClock()
        self._producer = KafkaProducer(bootstrap_servers=settings.bootstrap, acks="all", linger_ms=5)
        self.expected: Counter[Outcome] = Counter()
        self.n_events = 0

    def send(self, n_requests: int) -> None:
        """Send some requests and all that belongs to them, and wait until the brokers have it."""
        for _ in range(n_requests):
            self._request(self.n_events)
        self._producer.flush()

    def _request(self, number: int) -> None:
        ts, user = int(self._clock.now_ms()), f"u{self._rng.integers(500)}"
        shown, request, other = (
            [f"i{n}" for n in self._rng.choice(40, 4, replace=False)],
            f"r{number}",
            f"o{number}",
        )
        decision = Decision(
            request_id=request, ts=ts, user_id=user, items=shown, propensities=[0.5] * 4, policy="uniform"
        )
        self._put(decision, Click(ts=ts, request_id=request, user_id=user, item_id=shown[1]))
        self._put(Click(ts=ts, user_id=user, item_id=other, event_id=f"e{number}"))
        self._expect(
            ("shown", request), ("click", request, "1"), ("closed", request), ("organic", user, other)
        )
        if number % 8 == 0:
            self._put(ItemEvent(item_id=f"new{number}", ts=ts))
            self._expect(("item", f"new{number}"))

    def _put(self, *events: LoggedEvent) -> None:
        name = routing_id(events[0])
        partition = partition_of(name, self._settings.partitions)
        topic, headers = self._settings.topic("events"), [("schema", b"%d" % EVENT_SCHEMA)]
        is_item = isinstance(events[0], ItemEvent)
        for _ in range(1 if is_item or self._rng.random() < 0.9 else 2):
            self._producer.send(
                topic, encode_events(events), key=name.encode(), partition=partition, headers=headers
            )
        self.n_events += len(events)

    def _expect(self, *outcomes: Outcome) -> None:
        self.expected.update(outcomes)

    def close(self) -> None:
        """Let go of the brokers."""
        self._producer.close()


def outcomes(settings: KafkaSettings, enough: int, limit_s: float) -> Counter[Outcome]:
    """What stands committed in `feedback` and `item-feedback`, once there is `enough` of it or time is up.

    Then it looks a moment longer, for what comes twice.
    """
    consumer: Any = KafkaConsumer(
        bootstrap_servers=settings.bootstrap, isolation_level="read_committed", enable_auto_commit=False
    )
    names = [settings.topic(name) for name in ("feedback", "item-feedback")]
    partitions = [TopicPartition(name, p) for name in names for p in range(settings.partitions)]
    consumer.assign(partitions)
    for partition in partitions:
        consumer.seek(partition, 0)
    clock, found = WallClock(), Counter[Outcome]()
    end_s = clock.monotonic_s() + limit_s
    while clock.monotonic_s() < end_s:
        for records in consumer.poll(timeout_ms=200).values():
            for record in records:
                found.update(_read(record.value))
        if found.total() >= enough and end_s - clock.monotonic_s() > 1.0:
            end_s = clock.monotonic_s() + 1.0
    consumer.close()
    return found


def _read(value: bytes) -> list[Outcome]:
    segment = decode_segment(value)
    if isinstance(segment, ItemsBlock):
        return [("item", item.item_id) for item in segment.items]
    found: list[Outcome] = []
    if isinstance(segment, FeedbackBlock):
        for kind, ref, place in zip(segment.kind, segment.ref, segment.place, strict=True):
            if kind == ORGANIC:
                found.append(("organic", *segment.organic[ref]))
            else:
                more = (str(place),) if kind == CLICK else ()
                found.append((_NAMES[kind], segment.slates[ref].request_id, *more))
    return found
