"""A learner of 100,000 items whose commits were computed beforehand: a serving worker follows them.

``python -m benchmarks._world FOLDER SETTINGS ITEMS USERS ROWS_A_SECOND SECONDS``: writes a snapshot, learns
made-up clicks for so many seconds' worth of commits, keeps these in memory and says ``ready``. From a line on
its input to the next it commits one every 10 ms, so that so many item rows change a second, and says what it
did. Learning itself costs nothing then: the figure is about the worker.
"""

from __future__ import annotations

import gc
import http.client
import json
import os
import select
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from freshet.config import Settings
from learning.pipeline import Pipeline
from stream.clock import WallClock
from stream.commits import Span
from stream.engine import SocketNotifier
from stream.events import Click, ItemEvent
from stream.folder import DataFolder
from stream.frame import pack

__all__ = ["Learner", "following_learner", "serving_worker", "user_name", "wait_ready"]

_TICK_S = 0.01
_IDLE_S = 0.1
_CLOCK = WallClock()


def user_name(n: int) -> str:
    """Id of user n."""
    return f"user-{n}"


class Learner:
    """The learner's process as seen from outside: it streams between `go` and `halt`."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def go(self) -> None:
        """Begin to commit."""
        self._say(b"go\n")

    def halt(self) -> dict[str, float]:
        """Commit no more; rows and commits a second since `go`."""
        self._say(b"halt\n")
        assert self._process.stdout is not None
        done: dict[str, float] = json.loads(self._process.stdout.readline())
        return done

    def _say(self, line: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line)
        self._process.stdin.flush()


@contextmanager
def following_learner(
    folder: Path, settings: Settings, *, items: int, users: int, rows_a_second: int, seconds: float
) -> Iterator[Learner]:
    """Run the learner beside the block; it has commits for so many seconds."""
    text = msgspec.json.encode(settings).decode()
    command = [sys.executable, "-m", "benchmarks._world", str(folder), text]
    numbers = [str(n) for n in (items, users, rows_a_second, seconds)]
    process = subprocess.Popen([*command, *numbers], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdout.readline()
        yield Learner(process)
    finally:
        process.stdin.close()
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
        self.seq, self.clicks = 1, 20
        self.prepared: deque[tuple[bytes, int]] = deque()

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

    def prepare(self, wanted: float) -> None:
        """Learn as many clicks as change about `wanted` item rows, and keep the commit for later."""
        now = int(_CLOCK.now_ms())
        users = self.rng.integers(0, self.users, self.clicks).tolist()
        self.pipeline.on_events([self._click(user, now) for user in users])
        frame = self.pipeline.take()
        rows = int(frame["vectors"]["item"]["rows"].size)
        self.prepared.append((pack(frame), rows))
        self.clicks = max(1, round(self.clicks * wanted / max(1, rows)))

    def commit(self) -> int:
        """Commit what was prepared next; returns the item rows that change."""
        now, rows = int(_CLOCK.now_ms()), 0
        if self.prepared:
            frame, rows = self.prepared.popleft()
            self.seq += 1
            span = Span("events-0", self.seq - 1, self.seq, 1)
            self.commits.commit(self.seq, [span], frame, absorbed_at=now, watermark=now)
        self.notifier.notify(self.seq, now)
        return rows

    def stream(self) -> dict[str, float]:
        """Commit on schedule until the next line on the input."""
        began_s, turns, rows = _CLOCK.monotonic_s(), 0, 0
        while not _has_input(began_s + turns * _TICK_S - _CLOCK.monotonic_s()):
            rows += self.commit()
            turns += 1
        sys.stdin.readline()
        seconds = _CLOCK.monotonic_s() - began_s
        return {"rows_per_second": rows / seconds, "commits_per_second": turns / seconds}


def _has_input(timeout_s: float) -> bool:
    return bool(select.select([sys.stdin], [], [], max(0.0, timeout_s))[0])


def main(arguments: list[str]) -> None:
    """The learner's process."""
    path, text, items, users, rate, seconds = arguments
    world = _World(Path(path), msgspec.json.decode(text, type=Settings), int(items), int(users))
    world.begin()
    for _ in range(int(float(seconds) / _TICK_S)):
        world.prepare(int(rate) * _TICK_S)
    # Collections would walk the world, over and over, while others are being measured.
    gc.disable()
    print("ready", flush=True)
    while True:
        if not _has_input(_IDLE_S):
            world.notifier.notify(world.seq, int(_CLOCK.now_ms()))
        elif sys.stdin.readline():
            print(json.dumps(world.stream()), flush=True)
        else:
            break
    world.commits.close()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
