"""Events a second that one serving worker takes in through ``POST /v1/events``, durable as promised.

Batches of 500 events as a product sends them: 400 clicks, 90 slates of 10 items, 10 items. A closed loop with
eight batches under way; each 202 comes after a synced commit. The learner is not running: it reads what was
accepted in its own time.
"""

from __future__ import annotations

import argparse
import json
import socket
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from benchmarks._load import http_post, run_load, saturate
from benchmarks._world import serving_worker
from freshet.config import Settings
from stream.clock import WallClock
from stream.folder import DataFolder

__all__ = ["run"]

_BATCH = 500
_BODIES = 64


def _event(n: int, ts: int) -> dict[str, Any]:
    if n % 50 == 0:
        return {"type": "item", "item_id": f"item-{n}", "ts": ts, "attributes": {"title": f"Number {n}"}}
    if n % 5 == 0:
        shown = [f"item-{(n * 7 + place * 131) % 100_000}" for place in range(10)]
        return {"type": "impression", "request_id": f"r-{n}", "ts": ts, "user_id": f"u-{n}", "items": shown}
    return {"type": "click", "ts": ts, "user_id": f"u-{n % 9_973}", "item_id": f"item-{n % 99_991}"}


def _bodies() -> list[bytes]:
    ts = int(WallClock().now_ms())
    batches = [[_event(n * _BATCH + m, ts) for m in range(_BATCH)] for n in range(_BODIES)]
    return [http_post("/v1/events", msgspec.json.encode({"events": batch})) for batch in batches]


def run(quick: bool) -> list[dict[str, Any]]:
    """One row; latencies are those of a batch, from sending to its 202."""
    bodies = _bodies()
    with tempfile.TemporaryDirectory() as name, socket.create_server(("127.0.0.1", 0)) as listener:
        path, port = Path(name) / "data", int(listener.getsockname()[1])
        DataFolder(path).prepare(1)
        with serving_worker(path, Settings(), listener):
            run_load(saturate(port, lambda n: bodies[n % _BODIES], seconds=2.0, connections=2))
            seconds = 3.0 if quick else 15.0
            outcome = run_load(saturate(port, lambda n: bodies[n % _BODIES], seconds=seconds, connections=8))
    taken = outcome.statuses.get(202, 0) * _BATCH
    row: dict[str, Any] = {"name": "ingest_http", "value": taken / outcome.seconds, "unit": "events/s"}
    row |= {"p50": outcome.percentile(50), "p99": outcome.percentile(99), "batch": _BATCH}
    return [row | {"refused": sum(outcome.statuses.values()) - outcome.statuses.get(202, 0)}]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    for line in run(parser.parse_args().quick):
        print(json.dumps(line))
