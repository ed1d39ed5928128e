"""Real workers on Kafka to kill, a plain producer beside them, and an exact count of what must come out."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from freshet.config import Settings
from learning.shards.worker import STEPS, Worker
from stream.block_codec import decode_segment
from stream.blocks import CLICK, CLOSED, ORGANIC, SHOWN, FeedbackBlock, ItemsBlock
from stream.clock import Clock, WallClock
from stream.codec import encode_events
from stream.events import Click, Decision, ItemEvent, LoggedEvent
from stream.kafka import KafkaSettings
from stream.kafka.bundles import headers_of
from stream.kafka.partitioning import partition_of, routing_id
from tests.harness.sums import Sums

__all__ = ["Follower", "Load", "WorkerProcess", "WorkerThread", "outcomes"]

Outcome = tuple[str, ...]

# Exact in binary, so that sums are equal to the last bit; no centroid ever has these numbers.
_CLUSTERS, _WEIGHTS = [900, 901], [0.5, 0.25]
_NAMES = {SHOWN: "shown", CLICK: "click", CLOSED: "closed"}


class WorkerProcess:
    """One `freshet work` in a process of its own, with sessions and windows as short as a test needs.

    Args:
        settings: where the brokers are.
        log: file that gets what it says.
        more: further settings, by variable.
        command: what to run instead of `freshet work`; it takes the same two options.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        log: Path,
        more: Mapping[str, str] | None = None,
        command: Sequence[str] = ("-m", "freshet", "work"),
    ) -> None:
        self._log = log
        self._command = [sys.executable, *command, "--kafka", settings.bootstrap]
        self._command += ["--prefix", settings.prefix]
        self._environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("FRESHET_")},
            "FRESHET_KAFKA_PARTITIONS": str(settings.partitions),
            "FRESHET_KAFKA_REPLICATION": "1",
            "FRESHET_KAFKA_MIN_INSYNC": "1",
            "FRESHET_KAFKA_TIMEOUT_MS": str(settings.timeout_ms),
            "FRESHET_JOIN_WINDOW_MS": "1000",
            # On a busy machine what is sent lies in its producer for a while.
            "FRESHET_JOIN_LATENESS_MS": "30000",
            "FRESHET_LEARN_EMBEDDING_DIM": "8",
            "FRESHET_LEARN_MAINTAIN_MS": "1000",
            "FRESHET_POLICY_OTHERS": '["thompson"]',
            "FRESHET_SHARD_SNAPSHOT_S": "2",
            "FRESHET_SHARD_COMMIT_S": "1",
            "FRESHET_WORK_SESSION_S": "3",
            "FRESHET_WORK_HEARTBEAT_S": "0.5",
            "FRESHET_WORK_STALL_S": "600",
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

    def was_fenced(self) -> bool:
        """Whether it has ended because others had taken over from it while it was frozen.

        One that has been asked to end does not say so: that is no failure then.
        """
        last = self.said().rstrip().rpartition("\n")[2]
        return not self.is_alive() and last.endswith("nothing of this one's was written since")

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
        self.ask_to_end()
        return self.wait()

    def ask_to_end(self) -> None:
        """SIGTERM; one that is frozen hears of it when it wakes."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """The exit code, once it has ended; asked again and again, as by who has little patience."""
        clock = WallClock()
        end_s = clock.monotonic_s() + 300.0
        while True:
            try:
                return self.process.wait(timeout=0.1)
            except subprocess.TimeoutExpired:
                if clock.monotonic_s() > end_s:
                    self.kill()
                    raise
            self.ask_to_end()


class WorkerThread:
    """A worker in a thread of this process: quick to start, and it cannot be killed.

    It leaves its group whenever it ends, so it may be silent for long before it counts as dead: other threads
    and compiling may keep it from its heartbeats.

    Args:
        settings: of everything.
        steps: what it runs.
        clock: its clock, if that is not the right one.

    Example:
        See `tests/kafka/test_worker.py`.
    """

    def __init__(self, settings: Settings, steps: Sequence[str] = STEPS, clock: Clock | None = None) -> None:
        self.reason: str | None = None
        """Why it wanted to end the process, if it did."""
        self.worker: Worker | None = None
        """The worker, once it has started."""
        work = msgspec.structs.replace(settings.work, session_s=60.0, stall_s=600.0)
        self._settings, self._steps = msgspec.structs.replace(settings, work=work), steps
        self._clock = clock or WallClock()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> WorkerThread:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def run_again(self) -> list[int]:
        """How many records were run again at the take-over, for each partition that is owned now."""
        running = [] if self.worker is None else self.worker.running()
        return [one.shard.figures.run_again for one in running]

    def has_ended(self) -> bool:
        """Whether it wanted to end the process."""
        return self.reason is not None

    def _run(self) -> None:
        self.worker = Worker(self._settings, self._clock, self._end, self._steps)
        # As in a process of its own: what is left is cancelled and awaited before the loop is closed.
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self.worker.run(self._stop))

    def _end(self, reason: str) -> None:
        self.reason = self.reason or reason


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
        self.producer = KafkaProducer(
            bootstrap_servers=settings.bootstrap,
            acks="all",
            linger_ms=5,
            request_timeout_ms=120_000,
            delivery_timeout_ms=600_000,
        )
        self.expected: Counter[Outcome] = Counter()
        self.sums = Sums()
        self.n_events = 0

    def send(self, n_requests: int) -> None:
        """Send some requests and all that belongs to them, and wait until the brokers have it."""
        for _ in range(n_requests):
            self.request(self.n_events)
        self.producer.flush()

    def request(self, number: int) -> None:
        """Send what belongs to one request; `number` was never used before."""
        ts, user = int(self._clock.now_ms()), f"u{self._rng.integers(500)}"
        shown, request, other = (
            [f"i{n}" for n in self._rng.choice(40, 4, replace=False)],
            f"r{number}",
            f"o{number}",
        )
        decision = Decision(
            request_id=request,
            ts=ts,
            user_id=user,
            items=shown,
            propensities=[0.5] * 4,
            policy="uniform",
            clusters=_CLUSTERS,
            weights=_WEIGHTS,
        )
        self.sums.shown(user, shown, _CLUSTERS, _WEIGHTS)
        self.sums.clicked(user, shown[1], _CLUSTERS, _WEIGHTS)
        self.sums.clicked(user, other)
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
        topic, headers = self._settings.topic("events"), headers_of(False)
        is_item = isinstance(events[0], ItemEvent)
        for _ in range(1 if is_item or self._rng.random() < 0.9 else 2):
            self.producer.send(
                topic, encode_events(events), key=name.encode(), partition=partition, headers=headers
            )
        self.n_events += len(events)

    def _expect(self, *outcomes: Outcome) -> None:
        self.expected.update(outcomes)

    def close(self) -> None:
        """Let go of the brokers."""
        self.producer.close()


class Follower:
    """Counts what stands committed in `feedback` and `item-feedback`, as far as it has looked.

    Args:
        settings: where the brokers are.
        topics: the topics, without prefix.
    """

    def __init__(
        self, settings: KafkaSettings, topics: Sequence[str] = ("feedback", "item-feedback")
    ) -> None:
        self._consumer: Any = KafkaConsumer(
            bootstrap_servers=settings.bootstrap, isolation_level="read_committed", enable_auto_commit=False
        )
        names = [settings.topic(name) for name in topics]
        partitions = [TopicPartition(name, p) for name in names for p in range(settings.partitions)]
        self._consumer.assign(partitions)
        for partition in partitions:
            self._consumer.seek(partition, 0)
        self.found: Counter[Outcome] = Counter()

    def look(self, timeout_ms: int = 200) -> None:
        """Take in what has come."""
        for records in self._consumer.poll(timeout_ms=timeout_ms).values():
            for record in records:
                self.take(record)

    def take(self, record: Any) -> None:
        """Count what one record holds."""
        self.found.update(_read(record.value))

    def close(self) -> None:
        """Let go of the brokers."""
        self._consumer.close()


def outcomes(settings: KafkaSettings, enough: int, limit_s: float = 600.0) -> Counter[Outcome]:
    """What stands committed once there is `enough` of it, and a second later; or when time is up."""
    clock, follower = WallClock(), Follower(settings)
    end_s = clock.monotonic_s() + limit_s
    has_enough = False
    while clock.monotonic_s() < end_s:
        follower.look()
        if not has_enough and follower.found.total() >= enough:
            has_enough, end_s = True, clock.monotonic_s() + 1.0
    follower.close()
    return follower.found


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
