"""kill -9 of one of two workers on Kafka until everything is learned again, with 100,000 rows to restore.

Users and items have 100,000 rows together, snapshots are 5 s apart. Right after the kill slates for every
partition are sent; the clock stops when all that they change stands in the rows. The session timeout, after
which the brokers give a dead worker's partitions away, is taken off: it is a setting.
"""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks._kafka import SLATE, World, broker_in, fresh_topics, scratch, send, until, worker_settings

__all__ = ["run"]

_SESSION_S = 3.0


def run(quick: bool) -> list[dict[str, Any]]:
    """Seconds from the kill until all partitions learn again, without the session timeout."""
    with scratch() as folder, broker_in(Path(folder)) as broker:
        return [] if broker is None else [_takeover(broker, Path(folder), 20_000 if quick else 97_000)]


def _takeover(broker: Any, folder: Path, n_users: int) -> dict[str, Any]:
    from kafka import KafkaProducer

    from tests.harness.sums import PublishedRows
    from tests.harness.workers import WorkerProcess

    settings, world = fresh_topics(broker, "takeover"), World()
    producer = KafkaProducer(bootstrap_servers=settings.bootstrap, acks="all", linger_ms=5)
    rows = PublishedRows(settings)
    more = {"FRESHET_WORK_SESSION_S": str(_SESSION_S), "FRESHET_WORK_HEARTBEAT_S": "0.5"}
    more["FRESHET_SHARD_SNAPSHOT_S"] = "5"
    workers = [WorkerProcess(settings, folder / f"{n}.log", worker_settings(**more)) for n in range(2)]
    try:
        send(producer, settings, world.catalogue())
        send(producer, settings, world.visits(n_users))
        n_rows = n_users + len(world.items)
        until(rows, workers[0], lambda: rows.n_ids() >= n_rows)
        # Some slates later each partition has a snapshot behind it, and some records to run again.
        n_shown = 0
        for _ in range(3):
            send(producer, settings, world.records(500))
            n_shown += 500 * SLATE
            until(rows, workers[0], lambda n=n_shown: rows.n_shown() >= n)  # type: ignore[misc]
        before = workers[1].said().count("took over")
        workers[0].kill()
        killed_s = perf_counter()
        send(producer, settings, world.records(200))
        ended_s = until(rows, workers[1], lambda: rows.n_shown() >= n_shown + 200 * SLATE)
        return {
            "name": "kafka_takeover",
            "value": ended_s - killed_s - _SESSION_S,
            "unit": "s",
            "session_s": _SESSION_S,
            "rows": rows.n_ids(),
            "partitions_taken_over": workers[1].said().count("took over") - before,
        }
    finally:
        for worker in workers:
            worker.kill()
        rows.close()
        producer.close()
