"""A forgotten user's id is in no file."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest

from stream.clock import ManualClock
from stream.dead_letters import DeadLetter
from stream.engine import EngineSettings, LocalEngine
from stream.events import Click, Decision, Forget, Impression, LoggedEvent
from stream.folder import DataFolder
from stream.frame import pack
from stream.housekeeping import Housekeeping
from stream.log import Record
from stream.log_scrub import LogScrub
from stream.scrub import LearnerScrub
from stream.testing_log import CountingStep

ID = 'marlène "m" o\'hara'
ESCAPED = msgspec.json.encode(ID)[1:-1]


def bundle(*events: LoggedEvent, at: int) -> Record:
    return Record("events", msgspec.json.encode(list(events)), at)


def files_with(folder: Path, needle: bytes) -> list[str]:
    return [str(p) for p in sorted(folder.rglob("*")) if p.is_file() and needle in p.read_bytes()]


class World:
    """A folder with two logs and a learner, closed and opened at will."""

    def __init__(self, path: Path) -> None:
        self.path = path
        DataFolder(path).prepare(2)
        self.open()

    def open(self) -> None:
        self.folder = DataFolder(self.path)
        self.logs = {name: self.folder.writer(name) for name in self.folder.sources()}
        self.commits = self.folder.commit_log()
        self.readers = self.folder.readers()
        self.step = CountingStep()
        self.scrubs = LearnerScrub(self.commits, self.readers, self.folder.key)
        self.engine = LocalEngine(
            self.step, self.readers, self.commits, self.folder.snapshot_store(), clock=ManualClock(1_000),
            settings=EngineSettings(forget_s=0), scrubs=self.scrubs,
        )  # fmt: skip
        self.engine.recover()

    def close(self) -> None:
        for log in (*self.logs.values(), *self.readers.values()):
            log.close()
        self.commits.close()

    def scrub(self, source: str) -> LogScrub:
        return LogScrub(source, self.logs[source], self.commits)

    def fill(self) -> None:
        decision = Decision(request_id="req-7", ts=10, user_id=ID, items=["i1"], propensities=[1], policy="p")
        body = msgspec.json.encode(decision)
        other = Click(ts=12, item_id="i9", user_id="bob", event_id="kept")
        one, two = self.logs["events-0"], self.logs["events-1"]
        one.append([Record("decision", body, 10, request_id="req-7")], durable=False)
        one.append([bundle(Impression(request_id="q8", ts=11, user_id=ID, items=["i2"]), other, at=12)])
        two.append([bundle(Click(ts=13, item_id="i1", request_id="req-7"), other, at=13)])
        two.append(
            [bundle(Click(ts=14, item_id="i4", user_id=ID), at=14), Record("events", b'["' + ESCAPED, 15)]
        )
        one.dead_letters.add(
            [DeadLetter(16, "unreadable", "request/1", b'{"user_id": "' + ESCAPED + b'", "ts')]
        )
        self.engine.run_once()
        self.engine.snapshot()
        one.append([bundle(Forget(user_id=ID, ts=20), at=20)])


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    world.fill()
    yield world
    world.close()


def test_after_a_forget_the_id_is_in_no_file_and_others_keep_theirs(world: World) -> None:
    assert len(files_with(world.path, ESCAPED)) >= 3
    world.engine.finish()
    assert all(world.scrub(source).pending() and world.scrub(source).run() for source in world.logs)
    for needle in (ESCAPED, ID.encode(), b"req-7", b"q8"):
        assert files_with(world.path, needle) == []
    bodies = [record.body for log in world.logs.values() for record in log.read(0, 99)]
    assert sum(b"kept" in body for body in bodies) == 2
    assert [record.pos for record in world.logs["events-0"].read(0, 99)] == [1, 2, 3]
    assert world.engine.run_once() == 0
    world.engine.finish()
    assert world.commits.pending() == [] and not list(world.commits.cuts("events-0", 0, 99))


def test_a_restart_after_scrubbing_gives_the_same_bits(world: World) -> None:
    world.engine.finish()
    for source in world.logs:
        world.scrub(source).run()
    state = pack(world.step.snapshot())
    world.close()
    world.open()
    assert pack(world.step.snapshot()) == state


@pytest.mark.parametrize("stage", range(4))
def test_a_forget_is_finished_after_a_stop_at_any_stage(world: World, stage: int) -> None:
    if stage > 0:
        world.engine.run_once()
    if stage > 1:
        world.engine.snapshot()
    if stage > 2:
        world.engine.finish()
        world.logs["events-0"].database.set_meta("scrubbing", 1)  # stopped between rewriting and the end
    world.close()
    world.open()
    world.engine.finish()
    assert all(world.scrub(source).run() for source in world.logs)
    assert files_with(world.path, ESCAPED) == []


def test_what_the_user_does_after_the_forget_stays(world: World) -> None:
    world.logs["events-1"].append([bundle(Click(ts=21, item_id="i5", user_id=ID, event_id="new"), at=21)])
    world.engine.finish()
    for source in world.logs:
        world.scrub(source).run()
    bodies = b"".join(record.body for record in world.logs["events-1"].read(0, 99))
    assert b"new" in bodies and b"i4" not in bodies


def test_a_log_is_not_touched_before_the_learner_is_ready(world: World) -> None:
    before = world.logs["events-1"].read(0, 99)
    world.engine.run_once()
    assert world.commits.pending() != []
    assert not world.scrub("events-1").pending() and world.scrub("events-1").run()
    assert world.logs["events-1"].read(0, 99) == before


def test_a_second_forget_is_a_new_pass(world: World) -> None:
    world.engine.finish()
    for source in world.logs:
        world.scrub(source).run()
    world.logs["events-1"].append([bundle(Click(ts=30, item_id="i5", user_id=ID), at=30)])
    world.logs["events-1"].append([bundle(Forget(user_id=ID, ts=31), at=31)])
    world.engine.finish()
    assert all(world.scrub(source).run() for source in world.logs)
    assert files_with(world.path, ESCAPED) == []


def test_housekeeping_scrubs_every_log_it_looks_after(world: World) -> None:
    world.engine.finish()
    claims = world.folder.claims()
    claims.claim("req-7", "events-0", at=10)
    keeper = Housekeeping(world.logs, world.commits, EngineSettings(), ManualClock(1_000), claims)
    assert keeper.pending() and keeper.run() and not keeper.pending()
    claims.close()
    assert files_with(world.path, b"req-7") == []


def test_appending_goes_on_while_a_file_is_rewritten(world: World) -> None:
    log = world.logs["events-1"]
    log.append([bundle(Click(ts=15, item_id="i1", user_id=ID), at=15) for _ in range(3_000)])
    world.engine.finish()
    with ThreadPoolExecutor() as pool:
        scrubbing = pool.submit(world.scrub("events-1").run)
        n, is_over = 0, False
        while not is_over:
            is_over = scrubbing.done()  # asked first: one is appended however quick it was
            log.append(
                [bundle(Click(ts=40, item_id="i1", user_id="bob", event_id="new"), at=40)], durable=False
            )
            n += 1
    assert scrubbing.result() and n > 0
    assert sum(b"new" in record.body for record in log.read(0, 1 << 20)) == n
    assert not any(ESCAPED in record.body for record in log.read(0, 1 << 20))


def test_unknown_fields_and_contexts_of_others_lose_the_id_and_nothing_else(world: World) -> None:
    click = {"type": "click", "ts": 15, "item_id": ID, "user_id": "carl", "value": 2, "event_id": "kept"}
    free = {"friend": ID, "note": {"seen": [f"with {ID}."]}, "page": "home"}
    shown = {"type": "impression", "ts": 15, "user_id": "carl", "request_id": "q", "items": ["i1"]}
    events = [click | free, shown | {"context": {"by": ID}, "placement": "top"}]
    log = world.logs["events-1"]
    (pos,) = log.append([Record("events", msgspec.json.encode(events), 15)])
    world.engine.finish()
    assert world.scrub("events-1").run()
    (record,) = log.read(pos - 1, 1)
    assert msgspec.json.decode(record.body) == [click | {"page": "home"}, shown | {"placement": "top"}]
    assert not record.damaged


def test_dead_letters_lose_the_id_in_every_spelling(world: World) -> None:
    letters = {
        "form": f"user_id={quote(ID)}&item_id=i1".encode(),
        "html": b"mail from marl&#232;ne &quot;m&quot; o'hara",
        "json in json": msgspec.json.encode(msgspec.json.encode([ID]).decode()),
        "another's": b"user_id=marl",
    }
    log = world.logs["events-1"]
    log.dead_letters.add(DeadLetter(16, "unreadable", place, text) for place, text in letters.items())
    world.engine.finish()
    assert world.scrub("events-1").run()
    assert [letter.place for letter in log.dead_letters.newest()] == ["another's"]


def test_forgets_that_keep_coming_do_not_hold_up_the_first(world: World) -> None:
    world.engine.run_once()
    world.engine.snapshot()
    while world.commits.ready_scrub() == 0:
        assert world.scrubs.advance()
        world.scrubs.begin(world.engine.seq, world.engine.positions)
    assert all(world.scrub(source).run() for source in world.logs)
    assert files_with(world.path / "snapshots", ESCAPED) == []
    assert b"i4" not in b"".join(record.body for record in world.logs["events-1"].read(0, 99))


def test_a_record_stays_where_it_is_when_others_of_its_bundle_go(world: World) -> None:
    (before,) = world.logs["events-1"].read(0, 1)
    world.engine.finish()
    assert world.scrub("events-1").run()
    (after,) = world.logs["events-1"].read(0, 1)
    assert len(after.body) == len(before.body) and not after.damaged
    assert after.body.index(b'"kept"') == before.body.index(b'"kept"')
