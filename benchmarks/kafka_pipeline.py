"""The whole loop on Kafka in one worker process: impressions and clicks in, rows out, beside a bare agent.

One broker on loopback. `events` gets decisions of 20 items with their clicks in arrays, as the gateway writes
them; `freshet work` joins them and learns users and items; the clock stops when the last row that the last
event changes stands committed. `faust_plain` is a Faust agent that looks at each record and does nothing,
over the same records one event each, in the same run.
"""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks._kafka import SLATE, World, broker_in, fresh_topics, scratch, send, until, worker_settings

__all__ = ["run"]


def run(quick: bool) -> list[dict[str, Any]]:
    """Shown items a second of one worker process."""
    with scratch() as folder, broker_in(Path(folder)) as broker:
        if broker is None:
            return []
        ours = _pipeline(broker, Path(folder), 5_000 if quick else 30_000)
        plain = _plain(broker, Path(folder), 10_000 if quick else 30_000)
        peer = {"peer": "faust_plain, nothing learned", "peer_value": plain["shown_items"]}
        return [{**ours, **peer}, plain]


def _pipeline(broker: Any, folder: Path, n_slates: int) -> dict[str, Any]:
    from kafka import KafkaProducer

    from tests.harness.sums import PublishedRows
    from tests.harness.workers import WorkerProcess

    settings, world = fresh_topics(broker, "pipeline"), World()
    producer = KafkaProducer(bootstrap_servers=settings.bootstrap, acks="all", linger_ms=5)
    rows = PublishedRows(settings)
    n_warm = 2_000
    send(producer, settings, world.catalogue())
    send(producer, settings, world.records(n_warm))
    records = world.records(n_slates)
    worker = WorkerProcess(settings, folder / "worker.log", worker_settings())
    try:
        until(rows, worker, lambda: rows.n_shown() >= n_warm * SLATE)
        before, cpu_s = rows.n_rows, _cpu_s(worker.process.pid)
        began_s = perf_counter()
        send(producer, settings, records)
        ended_s = until(rows, worker, lambda: rows.n_shown() >= (n_warm + n_slates) * SLATE)
        return {
            "name": "kafka_pipeline",
            "value": n_slates * SLATE / (ended_s - began_s),
            "unit": "shown items/s",
            "shown": n_slates * SLATE,
            "seconds": ended_s - began_s,
            "worker_cpu_s": _cpu_s(worker.process.pid) - cpu_s,
            "rows": rows.n_rows - before,
        }
    finally:
        worker.kill()
        rows.close()
        producer.close()


def _plain(broker: Any, folder: Path, n_records: int) -> dict[str, Any]:
    """A Faust agent as it comes: how many records it takes, and what that is in shown items."""
    from kafka import KafkaProducer

    from tests.harness.workers import WorkerProcess

    settings = fresh_topics(broker, "plain")
    producer = KafkaProducer(bootstrap_servers=settings.bootstrap, acks="all", linger_ms=5)
    send(producer, settings, World().records(n_records, bundle=1))
    producer.close()
    agent = WorkerProcess(
        settings,
        folder / "plain.log",
        {"FRESHET_PLAIN_RECORDS": str(n_records)},
        ("-m", "benchmarks._plain_worker"),
    )
    try:
        agent.process.wait(300)
        a_second = float(agent.said().split()[-1])
    finally:
        agent.kill()
    return {"name": "faust_plain", "value": a_second, "unit": "records/s", "shown_items": a_second * SLATE}


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
