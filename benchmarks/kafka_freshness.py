"""From a click acknowledged by the brokers until its user's row stands in `user-vectors`.

Beside it run 10,000 shown items a second, a quarter of what one worker must carry, on the wall clock.

What is measured is the log, the join, and the learning of the user, as a server that follows the rows sees
it; the gateway before and the server behind it are not in it.
"""

from __future__ import annotations

from pathlib import Path
from threading import Event, Thread
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks._kafka import (
    SLATE,
    World,
    broker_in,
    fresh_topics,
    organic_click,
    scratch,
    send,
    until,
    worker_settings,
)
from stream.clock import WallClock

__all__ = ["run"]

_CLOCK = WallClock()
_SLATES_A_SECOND, _EVERY_S = 500, 0.05


def run(quick: bool) -> list[dict[str, Any]]:
    """Milliseconds, p50 and p99."""
    with scratch() as folder, broker_in(Path(folder)) as broker:
        return [] if broker is None else [_freshness(broker, Path(folder), 100 if quick else 600)]


def _freshness(broker: Any, folder: Path, n_probes: int) -> dict[str, Any]:
    from kafka import KafkaProducer

    from freshet.testing_sums import RowFollower
    from freshet.testing_work import WorkerProcess

    settings, world = fresh_topics(broker, "freshness"), World(start_ms=int(_CLOCK.now_ms()))
    producer = KafkaProducer(bootstrap_servers=settings.bootstrap, acks="all")
    rows = RowFollower(settings)
    more = worker_settings(FRESHET_CLOCK="wall", FRESHET_JOIN_LATENESS_MS="600000")
    worker = WorkerProcess(settings, folder / "worker.log", more)
    done = Event()
    load = Thread(target=_offer, args=(settings, done))
    try:
        send(producer, settings, world.catalogue())
        send(producer, settings, world.records(1_000))
        until(rows, worker, lambda: rows.n_shown() >= 1_000 * SLATE)
        load.start()
        n_warm = n_probes // 5
        found = [_probe(settings, producer, rows, n) for n in range(n_warm + n_probes)][n_warm:]
    finally:
        done.set()
        if load.ident is not None:
            load.join()
        worker.kill()
        rows.close()
        producer.close()
    p50, p99 = np.percentile(found, [50, 99])
    return {
        "name": "kafka_freshness",
        "value": float(p50),
        "p99": float(p99),
        "unit": "ms",
        "probes": len(found),
        "shown_a_second": _SLATES_A_SECOND * SLATE,
    }


def _probe(settings: Any, producer: Any, rows: Any, number: int) -> float:
    """One click of somebody new: ms from the acknowledgement to the row."""
    user = f"probe{number}"
    send(producer, settings, [organic_click(user, f"item-{number % 50}", int(_CLOCK.now_ms()))])
    began_s = perf_counter()
    while ("user-vectors", user.encode()) not in rows.rows:
        rows.look(20)
        if perf_counter() - began_s > 60:
            msg = f"the row of {user} did not come in 60 s"
            raise TimeoutError(msg)
    return 1e3 * (perf_counter() - began_s)


def _offer(settings: Any, done: Event) -> None:
    """Slates at a steady rate, bundled as they come."""
    from kafka import KafkaProducer

    producer = KafkaProducer(bootstrap_servers=settings.bootstrap, acks="all")
    world = World(1, int(_CLOCK.now_ms()))
    world.skip(1_000)
    due_s = perf_counter()
    while not done.wait(max(0.0, due_s - perf_counter())):
        send(producer, settings, world.records(int(_SLATES_A_SECOND * _EVERY_S)))
        due_s += _EVERY_S
    producer.close()
