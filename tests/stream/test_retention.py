"""Logs shrink by age and by size, and keep what a restart needs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.clock import ManualClock
from stream.commits import CommitLog
from stream.dead_letters import DeadLetter, DeadLetters
from stream.engine import EngineSettings, LocalEngine
from stream.folder import DataFolder
from stream.frame import pack
from stream.log import SQLiteLog
from stream.retention import Retention
from stream.testing_log import CountingStep, clicks

DAY_MS = 86_400_000


class World:
    def __init__(self, path: Path) -> None:
        self.folder = DataFolder(path)
        self.folder.prepare(1)
        self.log: SQLiteLog = self.folder.writer("events-0")
        self.commits: CommitLog = self.folder.commit_log()

    def engine(self) -> tuple[LocalEngine, CountingStep]:
        step, store = CountingStep(), self.folder.snapshot_store()
        engine = LocalEngine(step, {"events-0": self.log}, self.commits, store, clock=ManualClock(9))
        return engine, step

    def trim(self, settings: EngineSettings, now_ms: float) -> int:
        return Retention("events-0", self.log, self.commits, settings).trim(now_ms)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.log.close()
    world.commits.close()


def test_nothing_goes_before_two_snapshots_hold_it(world: World) -> None:
    world.log.append([clicks(n, 1, accepted_at=5) for n in range(10)])
    engine, step = world.engine()
    engine.run_once()
    engine.snapshot()
    assert world.trim(EngineSettings(), 99 * DAY_MS) == 0
    world.log.append([clicks(n, 1, accepted_at=5) for n in range(10, 20)])
    engine.run_once()
    engine.snapshot()
    assert world.trim(EngineSettings(), 99 * DAY_MS) == 10
    again, copy = world.engine()
    again.recover()
    assert pack(copy.snapshot()) == pack(step.snapshot())


def test_a_file_over_its_size_drops_the_oldest_and_really_shrinks(world: World) -> None:
    engine, _ = world.engine()
    for first in range(0, 80, 10):
        world.log.append([clicks(1_000 * n, 1_000, accepted_at=5) for n in range(first, first + 10)])
        engine.run_once()
        engine.snapshot()
    path = world.folder.events_path("events-0")
    world.log.database.checkpoint()
    assert path.stat().st_size > 5 << 20
    world.trim(EngineSettings(keep_mb=2), 5)
    assert (1 << 20) < path.stat().st_size < 3 << 20
    assert world.log.read(0, 1)[0].body == b"[]"


def test_age_is_counted_in_days_of_the_wall(world: World) -> None:
    engine, _ = world.engine()
    for day in range(10):
        world.log.append([clicks(day, 1, accepted_at=day * DAY_MS)])
        engine.run_once()
        engine.snapshot()
    assert world.trim(EngineSettings(keep_days=7), 9 * DAY_MS) == 2


def test_positions_go_on_after_everything_was_dropped(world: World) -> None:
    engine, _ = world.engine()
    world.log.append([clicks(0, 1, accepted_at=1)])
    engine.run_once()
    engine.snapshot()
    world.commits.keep_snapshots({engine.seq: {"events-0": 1}, engine.seq + 1: {"events-0": 1}}, at=1)
    assert world.trim(EngineSettings(), 99 * DAY_MS) == 1
    world.log.close()
    world.log = world.folder.writer("events-0")
    assert world.log.append([clicks(1, 1, accepted_at=2)]) == [2]


def test_dead_letters_are_bounded_by_count_and_by_bytes(world: World) -> None:
    letters = DeadLetters(world.log.database, max_count=5, max_bytes=100_000)
    letters.add(DeadLetter(n, "unreadable", f"request/{n}", b"x" * 90_000) for n in range(3))
    assert [len(letter.original) for letter in letters.newest()] == [65_536]
    letters.add(DeadLetter(n, "unreadable", f"request/{n}", b"x") for n in range(10, 20))
    assert [letter.at for letter in letters.newest()] == [19, 18, 17, 16, 15]
