"""The learner process on a disk that refuses: it stays, waits, and goes on by itself."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from freshet.config import Settings
from stream.folder import DataFolder
from stream.log import Record
from tests.harness.live import wait_until


@contextmanager
def learner(folder: DataFolder) -> Iterator[subprocess.Popen[bytes]]:
    """A learner over a prepared folder."""
    command = [sys.executable, "-m", "freshet.run.learner", str(folder.path), "1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        with process.stdin as pipe:
            pipe.write(msgspec.json.encode(Settings(clock="event")))
        yield process
        if process.poll() is None:
            process.terminate()


def says(process: subprocess.Popen[bytes], words: str) -> bool:
    """Read what it says up to these words; false if it ends without them."""
    assert process.stderr is not None
    return any(words in line.decode() for line in process.stderr)


def learned(folder: DataFolder) -> int:
    commits = folder.commit_reader()
    positions = commits.positions()
    commits.close()
    return positions.get("events-0", 0)


def accept(folder: DataFolder) -> int:
    log = folder.writer("events-0")
    event = b'[{"type":"click","ts":5,"user_id":"u","item_id":"i"}]'
    (position,) = log.append([Record("events", event, accepted_at=5)])
    log.close()
    return position


@pytest.mark.parametrize("cause", ["no room", "a file is away"])
def test_it_waits_as_long_as_it_takes_and_goes_on_by_itself(tmp_path: Path, cause: str) -> None:
    folder = DataFolder(tmp_path / "data")
    (tmp_path / "data" / "lock").touch()
    folder.prepare(1)
    with learner(folder) as process:
        first = accept(folder)
        wait_until(lambda: learned(folder) >= first, timeout_s=600)
        _, most = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        if cause == "no room":
            # As on a full disk, every byte more is refused.
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, most))
        else:
            (tmp_path / "data" / "lock").rename(tmp_path / "away")
        second = accept(folder)
        # Twice: it has met the cause again after the first wait.
        assert says(process, "trying again in 1 s") and says(process, "trying again in 2 s")
        assert process.poll() is None
        if cause == "no room":
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (most, most))
        else:
            (tmp_path / "away").rename(tmp_path / "data" / "lock")
        wait_until(lambda: learned(folder) >= second)
    assert process.returncode == 0


def test_it_stops_politely_on_a_full_disk(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    folder.prepare(1)
    with learner(folder) as process:
        first = accept(folder)
        wait_until(lambda: learned(folder) >= first, timeout_s=600)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        accept(folder)
        assert says(process, "trying again")
        process.terminate()
        assert not says(process, "Traceback")
    assert process.returncode == 0
