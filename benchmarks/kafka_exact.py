"""What workers on Kafka lose and double when they are killed and frozen: ours, and Faust as it comes.

Two workers under a steady load; kill -9, SIGSTOP past the session and SIGCONT, in turns. The count of what
was sent is kept outside. Ours is `freshet work`; beside it a Faust agent that counts events in a `Table`,
each event under a key of its own, so that every loss and every double shows: lost is what was not counted
though something after it in its partition was; standing is what lies behind that at the end, 45 s after the
last kill. Without the `kafka` extra or without a broker (`tests.harness.broker` says where one is looked
for) there are no rows.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from stream.errors import LogError

__all__ = ["run"]

_N_WORKERS = 2
_ROUNDS = {True: 1, False: 4}


def run(quick: bool) -> list[dict[str, Any]]:
    """Events lost and doubled of all that were sent; one round of kills when `quick`."""
    try:
        from tests.harness.broker import NoBrokerError, running_broker
    except (ImportError, LogError):
        return []
    with tempfile.TemporaryDirectory(prefix="freshet-kafka-") as folder:
        try:
            broker_folder = Path(folder) / "broker"
            broker_folder.mkdir()
            with running_broker(broker_folder, os.environ.get("FRESHET_TEST_KAFKA")) as broker:
                ours = _ours(broker, Path(folder), quick)
                bare = _bare(broker, Path(folder), quick)
        except NoBrokerError:
            return []
    return [
        {
            "name": f"kafka_exact{'_quick' if quick else ''}",
            "value": ours["lost"] + ours["doubled"] + ours["wrong_rows"],
            "unit": "lost or doubled",
            "peer": "faust Table",
            "peer_value": bare["lost"] + bare["doubled"],
            "ours": ours,
            "faust": bare,
        }
    ]


def _ours(broker: Any, folder: Path, quick: bool) -> dict[str, Any]:
    from stream.kafka.topics import create_topics
    from tests.harness.workers_chaos import WorkersChaos

    settings = broker.settings(prefix=f"ours-{os.getpid()}-")
    create_topics(settings)
    (folder / "ours").mkdir()
    return _play(WorkersChaos(settings, folder / "ours", np.random.default_rng(1), _N_WORKERS), quick)


def _bare(broker: Any, folder: Path, quick: bool) -> dict[str, Any]:
    from stream.kafka.layout import TopicLayout
    from stream.kafka.partitioning import partition_of
    from stream.kafka.topics import create_topics
    from tests.harness.workers import Follower, Load, WorkerProcess
    from tests.harness.workers_chaos import WorkersChaos

    class BareLoad(Load):
        """One event a request, under a key of its own, and never twice."""

        def request(self, number: int) -> None:
            for event in range(number, number + 4):
                key, topic = f"e{event}", settings.topic("events")
                partition = partition_of(key, settings.partitions)
                self.producer.send(topic, b"x", key=key.encode(), partition=partition)
                self.expected["counted", key] += 1
                order.setdefault(partition, []).append(("counted", key))
            self.n_events += 4

    class BareFollower(Follower):
        """The table's changelog: the newest count of each key."""

        def take(self, record: Any) -> None:
            self.found["counted", record.key.decode().strip('"')] = int(record.value)

    order: dict[int, list[tuple[str, ...]]] = {}
    settings = broker.settings(prefix=f"bare-{os.getpid()}-")
    changelog = "bare-counts-changelog"
    create_topics(settings, [TopicLayout("events", "", ""), TopicLayout(changelog, "", "", "compact")])
    (folder / "bare").mkdir()
    chaos = WorkersChaos(
        settings,
        folder / "bare",
        np.random.default_rng(1),
        _N_WORKERS,
        load=BareLoad(settings, np.random.default_rng(1)),
        follower=BareFollower(settings, [changelog]),
        start=lambda kafka, log: WorkerProcess(kafka, log, command=("-m", "benchmarks._bare_worker")),
    )
    figures = _play(chaos, quick)
    figures["standing"] = sum(_standing(sent, chaos.follower.found) for sent in order.values())
    figures["lost"] -= figures["standing"]
    return figures


def _standing(sent: list[tuple[str, ...]], found: Counter[tuple[str, ...]]) -> int:
    """How many of a partition's events lie behind the last one that was counted."""
    last = max((n for n, outcome in enumerate(sent) if outcome in found), default=-1)
    return len(sent) - 1 - last


def _play(chaos: Any, quick: bool) -> dict[str, Any]:
    """The same to both: what is lost cannot be waited for, so the turns are timed."""
    try:
        chaos.go_on(15)
        for _ in range(_ROUNDS[quick]):
            chaos.kill()
            chaos.go_on(12)
            chaos.freeze()
            chaos.go_on(14)
        found: Counter[Any] = chaos.finish(45)
        lost, doubled = chaos.load.expected - found, found - chaos.load.expected
    finally:
        chaos.close()
    return {
        "lost": lost.total(),
        "doubled": doubled.total(),
        "wrong_rows": len(chaos.wrong_rows()),
        "sent": chaos.load.expected.total(),
        "events": chaos.load.n_events,
        "happened": dict(chaos.happened),
    }
