"""A learner of 100,000 items that goes on learning, without HTTP: it commits, a serving worker follows.

``python -m benchmarks._world FOLDER SETTINGS ITEMS USERS ROWS_A_SECOND``: writes a snapshot, says ``ready``,
then learns made-up clicks so fast that so many item rows change a second, until its input ends; says what it
did.
"""

from __future__ import annotations

import http.client
import json
import os
import select
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from freshet.config import Settings
from freshet.pipeline import Pipeline
from stream.clock import WallClock
from stream.commits import Span
from stream.engine import SocketNotifier
from stream.events import Click, ItemEvent
from stream.folder import DataFolder
from stream.frame import pack

__all__ = ["following_learner", "serving_worker", "user_name", "wait_ready"]

_TICK_S = 0.01
_CLOCK = WallClock()


def user_name(n: int) -> str:
    """Id of user n."""
    return f"user-{n}"


@contextmanager
def following_learner(
    folder: Path, settings: Settings, *, items: int, users: int, rows_a_second: int
) -> Iterator[dict[str, Any]]:
    """Run the learner beside the block; afterwards the dictionary holds what it did."""
    text = msgspec.json.encode(settings).decode()
    command = [sys.executable, "-m", "benchmarks._world", str(folder), text]
    numbers = [str(n) for n in (items, users, rows_a_second)]
    process = subprocess.Popen([*command, *numbers], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    done: dict[str, Any] = {}
    try:
        process.stdout.readline()
        yield done
    finally:
        process.stdin.close()
        done.update(json.loads(process.stdout.readline() or b"{}"))
        process.wait(60)


@contextmanager
def serving_worker(folder: Path, settings: Settings, listener: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process as `freshet up` starts it."""
    command = ["-m", "freshet.run.worker", str(folder), "0", str(listener.fileno())]
    process = subprocess.Popen(
        [sys.executable, *command], stdin=subprocess.PIPE, pass_fds=[listener.fileno()]
    )
    assert process.stdin is not None
    with process.stdin as pipe:
        pipe.write(msgspec.json.encode(settings))
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def wait_ready(port: int, *, indexed: bool = False) -> None:
    """Return once the worker on `port` is caught up and, if `indexed`, has built its graph.

    Raises:
        RuntimeError: it is not within five minutes.
    """
    pause = threading.Event()
    for _ in range(3_000):
        if _get(port, "/readyz")[0] == 200 and (not indexed or _is_indexed(port)):
            return
        pause.wait(0.1)
    msg = "the worker did not become ready within five minutes"
    raise RuntimeError(msg)


def _is_indexed(port: int) -> bool:
    return b"\nfreshet_index_rebuilds 0.0" not in _get(port, "/metrics")[1]


def _get(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    except OSError:
        return 0, b""
    finally:
        connection.close()


class _World:
    def __init__(self, path: Path, settings: Settings, items: int, users: int) -> None:
        self.rng = np.random.default_rng(0)
        self.items, self.users = items, users
        self.folder = DataFolder(path)
        self.pipeline = Pipeline(settings, self.folder.key)
        self.notifier = SocketNotifier([self.folder.socket_path("worker-0")])
        self.dim = settings.learn.embedding_dim
        self.seq, self.rows = 1, 0

    def begin(self) -> None:
        """All items with clustered vectors, five clicks a user, a snapshot."""
        ts = int(_CLOCK.now_ms()) - 1_000
        centres = self.rng.normal(size=(200, self.dim))
        kinds = self.rng.integers(0, 200, self.items)
        vectors = centres[kinds] + 0.5 * self.rng.normal(size=(self.items, self.dim))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        for low in range(0, self.items, 5_000):
            self.pipeline.on_events(
                [
                    ItemEvent(
                        item_id=f"item-{n}", ts=ts, group=f"group-{n % 20}", vector=vectors[n].tolist(),
                        attributes={"title": f"Item number {n}"},
                    )
                    for n in range(low, min(low + 5_000, self.items))
                ]
            )  # fmt: skip
        for _ in range(5):
            for low in range(0, self.users, 5_000):
                self.pipeline.on_events(
                    [self._click(n, ts) for n in range(low, min(low + 5_000, self.users))]
                )
        self.pipeline.on_tick(ts)
        self.pipeline.take()
        frame = {
            "seq": 1, "positions": {}, "absorbed_at": ts, "fingerprint": "",
            "tickers": {"live": ts, "backfill": 0}, "step": self.pipeline.snapshot(),
        }  # fmt: skip
        self.folder.snapshot_store().write(frame)
        self.commits = self.folder.commit_log()
        self.commits.keep_snapshots({1: {}}, at=ts)

    def _click(self, user: int, ts: int) -> Click:
        # Squared: few items take many of the clicks.
        item = int(self.items * self.rng.random() ** 2)
        return Click(ts=ts, user_id=user_name(user), item_id=f"item-{item}")

    def turn(self, clicks: int) -> int:
        """Learn so many clicks and commit; returns the item rows that changed."""
        now = int(_CLOCK.now_ms())
        users = self.rng.integers(0, self.users, clicks).tolist()
        self.pipeline.on_events([self._click(user, now) for user in users])
        frame = self.pipeline.take()
        self.seq += 1
        span = Span("events-0", self.seq - 1, self.seq, 1)
        self.commits.commit(self.seq, [span], pack(frame), absorbed_at=now, watermark=now)
        self.notifier.notify(self.seq, now)
        return int(frame["items"]["rows"].size)


def main(arguments: list[str]) -> None:
    """The learner's process."""
    path, text, items, users, rate = arguments
    world = _World(Path(path), msgspec.json.decode(text, type=Settings), int(items), int(users))
    world.begin()
    print("ready", flush=True)
    began_s, turns, clicks = _CLOCK.monotonic_s(), 0, 20
    wanted = int(rate) * _TICK_S
    rows = 0
    while True:
        due_s = began_s + turns * _TICK_S
        if select.select([sys.stdin], [], [], max(0.0, due_s - _CLOCK.monotonic_s()))[0]:
            break
        if wanted:
            found = world.turn(clicks)
            rows += found
            clicks = max(1, round(clicks * wanted / max(1, found)))
        else:
            world.notifier.notify(world.seq, int(_CLOCK.now_ms()))
        turns += 1
    seconds = _CLOCK.monotonic_s() - began_s
    world.commits.close()
    print(json.dumps({"rows_per_second": rows / seconds, "commits_per_second": turns / seconds}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
