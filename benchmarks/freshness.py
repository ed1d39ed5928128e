"""Click accepted until the next answer uses it, in the whole embedded system under half of full load.

A learner and one worker as `freshet up` starts them; 10,000 items. Beside the probe run 250 recommend
requests and 1,000 events a second. The probe sends one click, then asks with `after`; the time from the 202
to the answer that has absorbed the click is one figure.

`freshness_network` is the same with a network that learns of all that is shown, against without, by turns:
there lists end after a second, so that it learns 5,000 shown places a second all along. The default policy
decides in both: what it costs a worker to decide by a network is another figure.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from pathlib import Path
from threading import Event, Thread
from typing import Any

import msgspec
import numpy as np

from benchmarks._load import Outcome, http_post, offer
from freshet.config import Settings
from freshet.demo.client import ApiClient
from freshet.run import EmbeddedSystem
from stream.clock import WallClock

__all__ = ["run"]

_ITEMS, _USERS = 10_000, 2_000
_ASKED, _POSTS, _POST = 250.0, 50.0, 20
_CLOCK = WallClock()
_NETWORK = ({"kind": "diag_lin_ucb"}, {"kind": "uniform"}, {"kind": "neu_fast_cb"})


def _item(n: int) -> str:
    return f"item-{n % _ITEMS}"


def _fill(client: ApiClient) -> None:
    ts = int(_CLOCK.now_ms())
    for low in range(0, _ITEMS, 1_000):
        client.events([{"type": "item", "item_id": _item(n), "ts": ts} for n in range(low, low + 1_000)])
    for low in range(0, 4 * _USERS, 1_000):
        client.events([_click(n % _USERS, n * n) for n in range(low, low + 1_000)])


def _click(user: int, item: int) -> dict[str, Any]:
    ts = int(_CLOCK.now_ms())
    return {"type": "click", "ts": ts, "user_id": f"user-{user}", "item_id": _item(item)}


def _probe(client: ApiClient, seconds: float) -> list[float]:
    """Times in ms from a click's 202 until an answer that has absorbed it."""
    found: list[float] = []
    pause = Event()
    until_s = _CLOCK.monotonic_s() + seconds
    n = 0
    while _CLOCK.monotonic_s() < until_s:
        n += 1
        accepted_at = client.events([_click(n % _USERS, n * 31)])["accepted_at"]
        began_s = _CLOCK.monotonic_s()
        while client.recommend(user_id=f"user-{n % _USERS}", k=20, after=accepted_at)["stale"]:
            continue
        found.append((_CLOCK.monotonic_s() - began_s) * 1e3)
        pause.wait(0.02)
    return found


def _load(port: int, seconds: float, contexts: bool) -> Outcome:
    async def both() -> Outcome:
        asked = [
            http_post("/v1/recommend", msgspec.json.encode({"user_id": f"user-{n}", "k": 20, **more}))
            for n in range(_USERS)
            for more in [{"context": {"hour": n % 24, "device": "abc"[n % 3]}} if contexts else {}]
        ]

        def batch(n: int) -> bytes:
            events = [_click((n * _POST + m) % _USERS, n * 17 + m * m) for m in range(_POST)]
            return http_post("/v1/events", msgspec.json.encode({"events": events}))

        answers, _ = await asyncio.gather(
            offer(port, lambda n: asked[n * 7919 % _USERS], rate=_ASKED, seconds=seconds),
            offer(port, batch, rate=_POSTS, seconds=seconds, rng=np.random.default_rng(1)),
        )
        return answers

    return asyncio.run(both())


def _measured(settings: Settings, seconds: float) -> tuple[list[float], Outcome]:
    """The probe's times, and the answers to the load beside it, of a new system."""
    with (
        tempfile.TemporaryDirectory() as name,
        EmbeddedSystem(Path(name) / "data", settings, _CLOCK) as system,
    ):
        client = ApiClient("127.0.0.1", system.port)
        _fill(client)
        _probe(client, 2.0)
        answers: list[Outcome] = []
        contexts = bool(settings.policy.features)
        loading = Thread(target=lambda: answers.append(_load(system.port, seconds, contexts)))
        loading.start()
        times = _probe(client, seconds)
        loading.join()
        client.close()
    return times, answers[0]


def _row(name: str, times: list[float]) -> dict[str, Any]:
    p50, p99 = (float(q) for q in np.percentile(times, [50, 99]))
    return {"name": name, "value": p50, "unit": "ms", "p99": p99, "probes": len(times)}


def _beside_a_network(seconds: float, turns: int) -> dict[str, Any]:
    """p50 with a network, p99 beside it, and how many times those without both are."""
    plain = msgspec.structs.replace(Settings(), port=0)
    plain = msgspec.structs.replace(
        plain,
        join=msgspec.structs.replace(plain.join, window_ms=1_000, lateness_ms=1_000),
        policy=msgspec.structs.replace(plain.policy, features=("hour", "device")),
    )
    network = msgspec.structs.replace(plain, policies=_NETWORK)
    found: dict[bool, list[float]] = {False: [], True: []}
    # There and back again: whatever else the machine does falls on both.
    for is_on in (False, True, True, False)[: 2 * turns]:
        found[is_on] += _measured(network if is_on else plain, seconds)[0]
    row, without = _row("freshness_network", found[True]), _row("", found[False])
    return row | {
        "ratio": row["value"] / without["value"],
        "p99_ratio": row["p99"] / without["p99"],
        "p99_without": without["p99"],
    }


def run(quick: bool) -> list[dict[str, Any]]:
    """Two rows: p50 as the value, p99 beside it, in ms."""
    seconds = 5.0 if quick else 20.0
    times, answers = _measured(msgspec.structs.replace(Settings(), port=0), seconds)
    alone = _row("freshness", times)
    alone["answers_per_second"] = answers.statuses.get(200, 0) / answers.seconds
    return [alone, _beside_a_network(seconds, turns=1 if quick else 2)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    for line in run(parser.parse_args().quick):
        print(json.dumps(line))
