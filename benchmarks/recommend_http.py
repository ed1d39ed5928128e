"""Recommendations a second of one serving worker while the learner's row refreshes stream in.

100,000 items, 64 dimensions, k = 20, an open loop of known users; a learner's process commits every 10 ms so
that 10,000 item rows a second change (with them users, histories, popularity and co-occurrence). The client
shares the machine with both.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from benchmarks._load import Outcome, http_post, offer
from benchmarks._world import following_learner, serving_worker, user_name, wait_ready
from freshet.config import LearnSettings, Settings
from stream.folder import DataFolder

__all__ = ["run"]

_SETTINGS = Settings(learn=LearnSettings(max_items=200_000, max_users=200_000))
_ROWS = 10_000


def _measure(port: int, users: int, rate: float, seconds: float) -> Outcome:
    bodies = [
        http_post("/v1/recommend", msgspec.json.encode({"user_id": user_name(n), "k": 20}))
        for n in range(users)
    ]
    return asyncio.run(offer(port, lambda n: bodies[n * 7919 % users], rate=rate, seconds=seconds))


def _serve(items: int, users: int, rates: list[float], seconds: float) -> list[dict[str, Any]]:
    """One row for each rate offered."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name, socket.create_server(("127.0.0.1", 0)) as listener:
        path, port = Path(name) / "data", int(listener.getsockname()[1])
        DataFolder(path).prepare(1)
        with (
            following_learner(path, _SETTINGS, items=items, users=users, rows_a_second=_ROWS) as learner,
            serving_worker(path, _SETTINGS, listener),
        ):
            wait_ready(port, indexed=True)
            _measure(port, users, 200, 3.0)
            for rate in rates:
                outcome = _measure(port, users, rate, seconds)
                good = outcome.statuses.get(200, 0)
                row = {"offered": rate, "value": good / outcome.seconds}
                row |= {"p50": outcome.percentile(50), "p99": outcome.percentile(99)}
                rows.append(row | {"failed": sum(outcome.statuses.values()) - good})
    return [{**row, "refreshes_per_second": learner.get("rows_per_second", 0.0)} for row in rows]


def run(quick: bool) -> list[dict[str, Any]]:
    """The highest of three rates whose p99 is within 10 ms, and each rate by itself."""
    items, seconds = (20_000, 5.0) if quick else (100_000, 20.0)
    found = _serve(items, 20_000, [500.0, 1_000.0, 1_500.0], seconds)
    held = [row for row in found if row["p99"] <= 10 and row["value"] > 0.95 * row["offered"]]
    best = (held or found[:1])[-1]
    rows = [{"name": "recommend_http", "unit": "answers/s", "items": items, **best}]
    return rows + [
        {"name": f"recommend_http_at_{row['offered']:.0f}", "unit": "answers/s", **row} for row in found
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    for line in run(parser.parse_args().quick):
        print(json.dumps(line))
