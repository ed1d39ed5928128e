"""From a click that leaves its client until rows that know it are *served*: its user's, its item's policy.

A worker, a server and a broker, as users run them, on the wall clock. Beside the probe runs a quarter of full
load: 10,000 shown items a second with their clicks in `events` (40,000 is what one worker must carry), and
125 recommend requests a second at the server (of 500). The probe asks the server for an item, clicks it
through the gateway, and looks at the served rows of the user and of the item until both know the click.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from threading import Event, Thread
from time import perf_counter
from typing import Any

import msgspec
import numpy as np

from benchmarks._kafka import (
    N_PARTITIONS,
    SLATE,
    World,
    broker_in,
    fresh_topics,
    scratch,
    send,
    worker_settings,
)
from benchmarks._load import Outcome, http_post, offer
from freshet.demo.client import ApiClient
from learning.errors import StartError
from stream.clock import WallClock
from stream.codec import encode_events
from stream.events import ItemEvent
from stream.kafka.partitioning import partition_of

__all__ = ["run"]

_CLOCK = WallClock()
_SLATES_A_SECOND, _EVERY_S, _ASKED = 500, 0.05, 125.0
_PROBED = [f"probed-{n}" for n in range(64)]
_LIMIT_S = 60.0


def run(quick: bool) -> list[dict[str, Any]]:
    """Milliseconds, p50 and p99: of user rows, then of policy rows."""
    with scratch() as folder, broker_in(Path(folder)) as broker:
        return [] if broker is None else _freshness(broker, Path(folder), 100 if quick else 400)


def _freshness(broker: Any, folder: Path, n_probes: int) -> list[dict[str, Any]]:
    from kafka import KafkaProducer

    from tests.harness.servers import ServeProcess
    from tests.harness.workers import WorkerProcess

    settings, world = fresh_topics(broker, "freshness"), World(start_ms=int(_CLOCK.now_ms()))
    producer = KafkaProducer(bootstrap_servers=settings.bootstrap, acks="all")
    more = worker_settings(FRESHET_CLOCK="wall", FRESHET_JOIN_LATENESS_MS="600000")
    worker = WorkerProcess(settings, folder / "worker.log", more)
    server = ServeProcess(settings, folder / "data", folder / "server.log", more)
    done, loads = Event(), _Loads(settings)
    try:
        send(producer, settings, [*world.catalogue(), *_probed_items()])
        _wait(lambda: bool(server.url), "the server listens")
        port = int(server.url.rpartition(":")[2])
        client = ApiClient("127.0.0.1", port)
        _wait(lambda: _get(client, "/readyz") is not None, "the server is ready")
        _wait(lambda: _get(client, f"/v1/items/{_PROBED[-1]}") is not None, "the items are served")
        loads.start(port, done)
        n_warm = n_probes // 5
        found = [_probe(client, n) for n in range(n_warm + n_probes)][n_warm:]
        said = _said(client)
    finally:
        done.set()
        loads.join()
        worker.kill()
        server.kill()
        producer.close()
    return [
        _row(name, [times[kind] for times in found], said[kind], loads)
        for kind, name in enumerate(("kafka_freshness", "kafka_freshness_policy"))
    ]


def _row(name: str, times_ms: list[float], said_ms: float, loads: _Loads) -> dict[str, Any]:
    p50, p99 = np.percentile(times_ms, [50, 99])
    return {
        "name": name,
        "value": float(p50),
        "p99": float(p99),
        "unit": "ms",
        "probes": len(times_ms),
        "mean": float(np.mean(times_ms)),
        "said_mean": said_ms,
        "shown_a_second": round(loads.shown / loads.seconds),
        "asked_a_second": round(loads.asked.statuses.get(200, 0) / max(loads.asked.seconds, 1e-9)),
    }


def _probed_items() -> list[tuple[int, str, bytes]]:
    """Items that nothing but the probe asks for, so that only its clicks move their policy."""
    ts = int(_CLOCK.now_ms())
    return [
        (
            partition_of(name, N_PARTITIONS),
            name,
            encode_events([ItemEvent(item_id=name, ts=ts, group="probed")]),
        )
        for name in _PROBED
    ]


def _get(client: ApiClient, path: str) -> dict[str, Any] | None:
    """The answer to a GET; None where it is 404 or 503."""
    try:
        found: dict[str, Any] = msgspec.json.decode(client.text(path))
    except StartError:
        return None
    return found


def _probe(client: ApiClient, number: int) -> tuple[float, float]:
    """One click of somebody new on what was decided for them: ms to the user's row, and to the policy's."""
    user = f"probe{number}"
    answer = client.recommend(user_id=user, k=1, groups=["probed"])
    item = answer["items"][0]["item_id"]
    before = _reward(client, item)
    click = {"type": "click", "ts": int(_CLOCK.now_ms()), "user_id": user, "item_id": item}
    began_s = perf_counter()
    client.events([click | {"request_id": answer["request_id"]}])
    took_ms: dict[str, float] = {}

    def served() -> bool:
        if "user" not in took_ms:
            row = _get(client, f"/v1/users/{user}")
            if row is not None and row["clicks"]:
                took_ms["user"] = 1e3 * (perf_counter() - began_s)
        if "policy" not in took_ms and _reward(client, item) > before:
            took_ms["policy"] = 1e3 * (perf_counter() - began_s)
        return len(took_ms) == 2

    _wait(served, f"the click of {user} is served")
    return took_ms["user"], took_ms["policy"]


def _reward(client: ApiClient, item: str) -> float:
    """What the policy that is served has learned of an item's clicks."""
    row = _get(client, f"/v1/items/{item}")
    return 0.0 if row is None else float(sum(edge["b"] for edge in row["edges"]))


def _said(client: ApiClient) -> tuple[float, float]:
    """What the server's own histograms say, in ms on the mean: of all clicks, those of the load as well."""
    values = dict(line.rsplit(" ", 1) for line in client.text("/metrics").splitlines() if line[0] != "#")
    names = (f"freshet_click_to_{kind}_row_seconds" for kind in ("user", "policy"))
    user, policy = (1e3 * float(values[f"{n}_sum"]) / float(values[f"{n}_count"]) for n in names)
    return user, policy


def _wait(holds: Any, what: str) -> None:
    end_s, pause = perf_counter() + _LIMIT_S, Event()
    while not holds():
        if perf_counter() > end_s:
            msg = f"waited {_LIMIT_S:g} s until {what}"
            raise TimeoutError(msg)
        pause.wait(0.001)


class _Loads:
    """A quarter of full load in two threads: slates and clicks into `events`, requests to the server."""

    def __init__(self, settings: Any) -> None:
        self._settings = settings
        self._threads: list[Thread] = []
        self.shown, self.seconds, self.asked = 0, 1e-9, Outcome()

    def start(self, port: int, done: Event) -> None:
        self._threads = [
            Thread(target=self._slates, args=(done,)),
            Thread(target=self._asks, args=(port, done)),
        ]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _slates(self, done: Event) -> None:
        from kafka import KafkaProducer

        producer = KafkaProducer(bootstrap_servers=self._settings.bootstrap, acks="all")
        began_s = due_s = perf_counter()
        number = 0
        while not done.wait(max(0.0, due_s - perf_counter())):
            # Ids go on from batch to batch, times are those of now.
            world = World(number, int(_CLOCK.now_ms()) - number * 1_000)
            world.skip(number * 1_000)
            records = world.records(int(_SLATES_A_SECOND * _EVERY_S))
            send(producer, self._settings, records)
            number += 1
            self.shown += int(_SLATES_A_SECOND * _EVERY_S) * SLATE
            due_s += _EVERY_S
        self.seconds = perf_counter() - began_s
        producer.close()

    def _asks(self, port: int, done: Event) -> None:
        bodies = [
            http_post("/v1/recommend", msgspec.json.encode({"user_id": f"user-{n}"})) for n in range(999)
        ]
        while not done.is_set():
            one = asyncio.run(offer(port, lambda n: bodies[n * 7 % 999], rate=_ASKED, seconds=2.0))
            self.asked.seconds += one.seconds
            for status, n in one.statuses.items():
                self.asked.statuses[status] = self.asked.statuses.get(status, 0) + n
