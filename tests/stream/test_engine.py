"""The local engine: what is committed, in which order, and what a restart brings back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.clock import ManualClock
from stream.commits import BehindError, CommitLog, Span, TickMark
from stream.engine import ClockMode, EngineSettings, LocalEngine, SnapshotStore
from stream.errors import LogError, SnapshotError
from stream.frame import pack, unpack
from stream.log import EventReader, MemoryLog, Record
from stream.testing_log import CountingStep, clicks

SMALL = EngineSettings(batch_records=3, tick_ms=10)


class World:
    """Two logs, a clock and a folder that outlive any number of engines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = ManualClock(1_000)
        self.logs: Mapping[str, MemoryLog] = {"a": MemoryLog(), "b": MemoryLog()}
        self.commits = CommitLog(path / "learner.db")
        self.store = SnapshotStore(path / "snapshots")

    def engine(
        self, mode: ClockMode = "wall", settings: EngineSettings = SMALL, fingerprint: str = ""
    ) -> tuple[LocalEngine, CountingStep]:
        step = CountingStep()
        sources: Mapping[str, EventReader] = self.logs
        engine = LocalEngine(
            step, sources, self.commits, self.store, clock=self.clock, mode=mode, settings=settings,
            fingerprint=fingerprint,
        )  # fmt: skip
        return engine, step

    def fill(self, n: int, first: int = 0) -> None:
        for number in range(first, first + n):
            self.clock.advance_ms(3)
            log = self.logs["ab"[number % 3 == 0]]
            log.append([clicks(number * 2, 2, accepted_at=int(self.clock.now_ms()))])


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.commits.close()


class Stop(Exception):  # noqa: N818
    """Thrown where a process would be killed."""


class StoppingStore(SnapshotStore):
    """Stops before or after the chosen step of a snapshot, as a kill would."""

    def __init__(self, folder: Path, step: str) -> None:
        super().__init__(folder)
        self._step = step

    def write(self, frame: Mapping[str, Any]) -> int:
        self._stop_at("before writing")
        n_bytes = super().write(frame)
        self._stop_at("after writing")
        return n_bytes

    def keep(self, n_kept: int) -> None:
        self._stop_at("before deleting")
        super().keep(n_kept)
        self._stop_at("after deleting")

    def _stop_at(self, step: str) -> None:
        if step == self._step:
            raise Stop


@pytest.mark.parametrize("stop", ["before writing", "after writing", "before deleting", "after deleting"])
@pytest.mark.parametrize("damaged", [False, True])
def test_a_stop_at_any_step_of_a_snapshot_loses_no_bit(world: World, stop: str, damaged: bool) -> None:
    for first in (0, 10):
        world.fill(10, first)
        engine, step = world.engine()
        engine.recover()
        drain(engine)
        engine.snapshot()
    world.fill(10, 20)
    good, world.store = world.store, StoppingStore(world.store.folder, stop)
    engine, step = world.engine()
    engine.recover()
    drain(engine)
    with pytest.raises(Stop):
        engine.snapshot()
    world.store = good
    for _ in range(3):
        if damaged:
            world.store.found()[0][1].write_bytes(b"FRESHET")
        again, copy = world.engine()
        again.recover()
        assert pack(copy.snapshot()) == pack(step.snapshot())
        again.snapshot()


def drain(engine: LocalEngine) -> None:
    while engine.run_once():
        continue


def test_every_event_is_learned_once_and_published_with_its_position(world: World) -> None:
    world.fill(20)
    engine, step = world.engine()
    drain(engine)
    assert set(step.seen.values()) == {1} and len(step.seen) == 40
    assert world.commits.positions() == {"a": world.logs["a"].end(), "b": world.logs["b"].end()}
    published: dict[str, int] = {}
    for delta in world.commits.read_deltas(0):
        published |= unpack(delta.frame)["counts"]
    assert published == step.counts


def test_logs_are_merged_by_acceptance_even_when_one_has_a_long_backlog(world: World) -> None:
    world.fill(20)
    engine, _ = world.engine()
    drain(engine)
    taken = [entry for _, merge in world.commits.merge_order(0) for entry in merge if isinstance(entry, Span)]
    accepted = [
        record.accepted_at
        for span in taken
        for record in world.logs[span.source].read(span.after, span.count)
    ]
    assert accepted == sorted(accepted)


def test_absorbed_at_never_promises_what_is_still_unread(world: World) -> None:
    world.fill(20)
    engine, step = world.engine()
    while engine.run_once():
        late = [
            r for log in world.logs.values() for r in log.read(0, 99) if r.accepted_at <= engine.absorbed_at
        ]
        ids = {event["event_id"] for record in late for event in msgspec.json.decode(record.body)}
        assert ids <= set(step.seen)
    assert engine.absorbed_at == world.clock.now_ms()


def test_an_idle_engine_ticks_with_the_wall_and_carries_absorbed_at_forward(world: World) -> None:
    engine, step = world.engine()
    engine.run_once()
    world.clock.advance_ms(3)
    before, seq = step.digest, engine.seq
    engine.run_once()
    assert (step.digest, engine.seq, engine.absorbed_at) == (before, seq, 1_003)
    world.clock.advance_ms(10)
    engine.run_once()
    assert world.commits.merge_order(seq) == [(seq + 1, [TickMark(1_010)])]


@pytest.mark.parametrize("mode", ["wall", "event"])
def test_a_restart_brings_back_the_same_bits(world: World, mode: ClockMode) -> None:
    engine, step = world.engine(mode)
    for first in range(0, 40, 10):
        world.fill(10, first)
        drain(engine)
        again, copy = world.engine(mode)
        again.recover()
        assert pack(copy.snapshot()) == pack(step.snapshot())
        assert (again.seq, again.positions, again.absorbed_at) == (
            engine.seq, engine.positions, engine.absorbed_at,
        )  # fmt: skip
        if first != 20:
            engine.snapshot()


def test_a_damaged_snapshot_falls_back_and_says_so(world: World) -> None:
    engine, step = world.engine()
    for first in (0, 10, 20):
        world.fill(10, first)
        drain(engine)
        engine.snapshot()
    newest = world.store.found()[0][1]
    newest.write_bytes(newest.read_bytes()[:-7])
    again, copy = world.engine()
    again.recover()
    assert pack(copy.snapshot()) == pack(step.snapshot())
    assert "damaged" in again.problems[0]
    assert not newest.exists()


def test_no_good_snapshot_is_an_error_and_not_a_fresh_start(world: World) -> None:
    engine, _ = world.engine()
    world.fill(5)
    drain(engine)
    engine.snapshot()
    for _, path in world.store.found():
        path.write_bytes(b"")
    with pytest.raises(SnapshotError, match="no snapshot can be read"):
        world.engine()[0].recover()


def test_a_lost_snapshots_folder_is_noticed(world: World) -> None:
    engine, _ = world.engine()
    for first in (0, 10):
        world.fill(10, first)
        drain(engine)
        engine.snapshot(n_kept=1)
    world.fill(3, 20)
    drain(engine)
    for _, path in world.store.found():
        path.unlink()
    with pytest.raises(LogError, match="no snapshot covers it"):
        world.engine()[0].recover()


def test_records_lost_with_the_power_send_replicas_to_a_new_snapshot(world: World) -> None:
    world.fill(20)
    engine, _ = world.engine()
    drain(engine)
    seq = engine.seq
    shorter = MemoryLog()
    shorter.append(world.logs["a"].read(0, world.logs["a"].end() - 2))
    world.logs = {**world.logs, "a": shorter}
    again, copy = world.engine()
    again.recover()
    assert "2 records" in again.problems[0]
    assert len(copy.seen) == 36
    with pytest.raises(BehindError):
        world.commits.read_deltas(seq)
    frame, _ = world.store.load()
    assert frame is not None and frame["seq"] == again.seq


def test_changed_settings_send_replicas_to_a_new_snapshot(world: World) -> None:
    engine, _ = world.engine(fingerprint="one")
    world.fill(5)
    drain(engine)
    engine.snapshot()
    world.engine(fingerprint="two")[0].recover()
    with pytest.raises(BehindError):
        world.commits.read_deltas(engine.seq)


def test_a_poisoned_record_becomes_a_dead_letter_once_and_the_rest_is_learned(world: World) -> None:
    world.fill(4)
    world.logs["a"].append([Record("events", b'[{"type":"click","ts":"soon"}]', 1_050)])
    world.fill(4, first=4)
    engine, step = world.engine()
    drain(engine)
    world.engine()[0].recover()
    (letter,) = world.commits.dead_letters().newest()
    assert letter.place.startswith("a/") and letter.original.startswith(b'[{"type":"click"')
    assert len(step.seen) == 16


def test_a_record_of_a_newer_program_stops_the_engine(world: World) -> None:
    world.logs["a"].append([Record("events", b"[]", 1, schema=99)])
    with pytest.raises(LogError, match="schema 99"):
        world.engine()[0].run_once()


def test_backfill_ticks_on_its_own_time(world: World) -> None:
    world.logs["a"].append([clicks(0, 2, accepted_at=40, backfill=True)])
    engine, _ = world.engine("event")
    drain(engine)
    assert engine.seq == 1
    assert world.commits.absorbed()[1] == 0


def test_only_two_snapshots_and_the_deltas_behind_the_older_are_kept(world: World) -> None:
    engine, _ = world.engine()
    seqs = []
    for first in range(0, 40, 10):
        world.fill(10, first)
        drain(engine)
        engine.snapshot()
        seqs.append(engine.seq)
    assert [seq for seq, _ in world.store.found()] == [seqs[3], seqs[2]]
    assert world.commits.merge_order(0)[0][0] == seqs[2] + 1
    assert world.commits.covered("a") == world.commits.snapshots()[1][1]["a"]
    with pytest.raises(BehindError):
        world.commits.read_deltas(seqs[0])


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(1, 9), max_size=8), mode=st.sampled_from(["wall", "event"]))
def test_how_batches_are_cut_changes_no_bit(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], mode: ClockMode
) -> None:
    digests = []
    for sizes in ([64], [*cuts, 64]):
        world = World(tmp_path_factory.mktemp("w"))
        world.fill(30)
        for size in sizes:
            engine, step = world.engine(mode, EngineSettings(batch_records=size, tick_ms=10))
            engine.recover()
            engine.run_once()
        drain(engine)
        digests.append(pack(step.snapshot()))
        world.commits.close()
    assert digests[0] == digests[1]


def test_run_stops_cleanly_with_a_snapshot_of_everything(world: World) -> None:
    world.fill(10)
    engine, step = world.engine()
    engine.recover()
    turns = iter([False, False, True])
    engine.run(lambda: next(turns))
    frame, _ = world.store.load()
    assert frame is not None and len(frame["step"]["seen"]) == len(step.seen) == 20


class FailingStore(SnapshotStore):
    """A snapshot folder on a disk that is full at first."""

    n_failures = 1

    def write(self, frame: Mapping[str, Any]) -> int:
        if self.n_failures:
            self.n_failures -= 1
            msg = "no room"
            raise SnapshotError(msg)
        return super().write(frame)


def test_a_snapshot_that_cannot_be_written_is_said_and_tried_again(world: World) -> None:
    world.store = FailingStore(world.store.folder)
    engine, step = world.engine(settings=EngineSettings(snapshot_s=0, idle_ms=1))
    world.fill(10)
    engine.run(lambda: bool(engine.problems))
    assert engine.problems == ["no room"]
    frame, _ = world.store.load()
    assert frame is not None and len(frame["step"]["seen"]) == len(step.seen) == 20


def test_a_snapshot_that_somebody_deleted_is_written_again_at_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.fill(10)
    engine, _ = world.engine()
    engine.recover()
    drain(engine)
    engine.snapshot()
    world.store.found()[0][1].unlink()

    def stop() -> bool:
        world.clock.advance_ms(100)
        return bool(world.store.found())

    engine.run(stop)  # ends, as there is one again
    assert "was deleted" in caplog.text
