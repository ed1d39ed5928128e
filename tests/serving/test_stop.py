"""A worker process that is told to stop loses nothing that it accepted."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import msgspec

from stream.folder import DataFolder
from tests.harness.live import wait_until


def start(folder: DataFolder, settings: Any, listener: socket.socket) -> subprocess.Popen[bytes]:
    arguments = ["-m", "freshet.run.worker", str(folder.path), "0", str(listener.fileno())]
    worker = subprocess.Popen(
        [sys.executable, *arguments], stdin=subprocess.PIPE, pass_fds=[listener.fileno()]
    )
    assert worker.stdin is not None
    with worker.stdin as pipe:
        pipe.write(msgspec.json.encode(settings))
    return worker


def post_until_refused(url: str, thread: int) -> list[str]:
    """Send single clicks until the worker is gone; the ids of those that got their 202."""
    accepted = []
    with httpx.Client(base_url=url, timeout=300) as client:
        for n in range(100_000):
            event = {"type": "click", "ts": 1_700_000_000_000, "user_id": f"{thread}-{n}", "item_id": "a"}
            try:
                answer = client.post("/v1/events", json={"events": [event]})
            except httpx.HTTPError:
                break
            if answer.status_code != 202:
                break
            accepted.append(event["user_id"])
    return [str(user_id) for user_id in accepted]


def logged(folder: DataFolder) -> list[str]:
    log = folder.readers()["events-0"]
    records = log.read(0, 1_000_000, 1 << 30)
    log.close()
    return [event["user_id"] for record in records for event in json.loads(record.body)]


def stop_under_load(kit: Any, path: Path, number: signal.Signals) -> tuple[int, list[str], list[str]]:
    """Exit code, what was accepted, what is in the log, after a signal in the middle of the traffic."""
    folder = DataFolder(path)
    folder.prepare(1)
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(4) as pool:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        process = start(folder, kit.settings, listener)
        sending = [pool.submit(post_until_refused, url, thread) for thread in range(4)]
        wait_until(lambda: len(logged(folder)) > 50, timeout_s=300)
        process.send_signal(number)
        code = process.wait(300)
        # Nobody accepts any more: connections in the backlog end when the listening socket goes.
        listener.close()
        accepted = [user_id for sent in sending for user_id in sent.result()]
    return code, accepted, logged(folder)


def test_a_polite_stop_commits_everything_that_was_accepted(kit: Any, tmp_path: Path) -> None:
    code, accepted, found = stop_under_load(kit, tmp_path / "data", signal.SIGTERM)
    assert code == 0
    assert len(accepted) >= 40 and set(accepted) <= set(found)
    assert len(found) == len(set(found))


def test_a_killed_worker_loses_nothing_that_got_its_202(kit: Any, tmp_path: Path) -> None:
    _, accepted, found = stop_under_load(kit, tmp_path / "data", signal.SIGKILL)
    assert len(accepted) >= 40 and set(accepted) <= set(found)
