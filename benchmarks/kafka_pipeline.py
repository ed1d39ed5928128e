"""The whole loop on Kafka in one worker process: impressions and clicks in, rows out, beside a bare agent.

One broker on loopback. `events` gets decisions of 20 items with their clicks in arrays, as the gateway writes
them; `freshet work` joins them and learns users and items; the clock stops when the last row that the last
event changes stands committed. `faust_plain` is a Faust agent that looks at each record and does nothing,
over the same records one event each, in the same run.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks._kafka import SLATE, World, broker_in, fresh_topics, scratch, send, worker_settings

__all__ = ["run"]

_LIMIT_S = 300.0


def run(quick: bool) -> list[dict[str, Any]]:
    """Shown items a second of one worker process."""
    with scratch() as folder, broker_in(Path(folder)) as broker:
        return [] if broker is None else [_pipeline(broker, Path(folder), 5_000 if quick else 30_000)]


def _pipeline(broker: Any, folder: Path, n_slates: int) -> dict[str, Any]:
    from kafka import KafkaProducer

    from freshet.testing_sums import RowFollower
    from freshet.testing_work import WorkerProcess

    settings, world = fresh_topics(broker, "pipeline"), World()
    producer = KafkaProducer(bootstrap_servers=settings.bootstrap, acks="all", linger_ms=5)
    rows = RowFollower(settings)
    n_warm = 2_000
    send(producer, settings, world.catalogue())
    send(producer, settings, world.records(n_warm))
    records = world.records(n_slates)
    worker = WorkerProcess(settings, folder / "worker.log", worker_settings())
    try:
        _until(rows, worker, lambda: _n_shown(rows) >= n_warm * SLATE)
        before, cpu_s = rows.n_rows, _cpu_s(worker.process.pid)
        began_s = perf_counter()
        send(producer, settings, records)
        ended_s = _until(rows, worker, lambda: _n_shown(rows) >= (n_warm + n_slates) * SLATE)
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


def _until(rows: Any, worker: Any, holds: Callable[[], bool]) -> float:
    """Follow the rows until something holds of them; when the last of them came."""
    end_s = perf_counter() + _LIMIT_S
    last_s = perf_counter()
    while perf_counter() < end_s:
        if rows.look(200):
            last_s = perf_counter()
        elif holds():  # looked at when nothing comes: it costs more than following
            return last_s
    msg = f"not learned in {_LIMIT_S:g} s\n{worker.said()[-2_000:]}"
    raise TimeoutError(msg)


def _n_shown(rows: Any) -> float:
    return sum(n for (kind, _, column), n in rows.sums().items() if (kind, column) == ("policy", "shown"))


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
