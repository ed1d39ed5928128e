"""A letter that changed on the disk is noticed, named, and nothing is learned from it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from stream.clock import ManualClock
from stream.codec import encode_events
from stream.dead_letters import DeadLetter
from stream.engine import LocalEngine
from stream.errors import LogError
from stream.events import Decision
from stream.folder import DataFolder
from stream.log import Record
from stream.testing_log import CountingStep, clicks

DECISION = encode_events(
    [Decision(request_id="r", ts=5, user_id="ann", items=["i1"], propensities=[1], policy="p")]
)


def change(path: Path, sql: str) -> None:
    connection = sqlite3.connect(path)
    assert connection.execute(sql).rowcount == 1
    connection.commit()
    connection.close()


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    folder = DataFolder(tmp_path)
    folder.prepare(1)
    log = folder.writer("events-0")
    log.append([clicks(n, 3, accepted_at=5) for n in range(3)])
    log.append([Record("decision", DECISION, 6, request_id="r")])
    log.dead_letters.add([DeadLetter(7, "no event", "request/1", b"{broken")])
    log.close()
    return folder


def learn(folder: DataFolder) -> CountingStep:
    commits, step = folder.commit_log(), CountingStep()
    engine = LocalEngine(step, folder.readers(), commits, folder.snapshot_store(), clock=ManualClock(9))
    engine.recover()
    engine.run_once()
    commits.close()
    return step


def test_nothing_is_learned_from_a_record_with_a_changed_letter(folder: DataFolder) -> None:
    change(folder.events_path("events-0"), "UPDATE records SET body=replace(body,'i','j') WHERE pos=2")
    assert sum(learn(folder).seen.values()) == 6
    (letter,) = folder.commit_reader().dead_letters().newest()
    assert letter.place == "events-0/2" and "checksum" in letter.reason and "backup" in letter.reason


@pytest.mark.parametrize(
    ("file", "sql", "named"),
    [
        ("events-0.db", "UPDATE records SET body=replace(body,'i','j') WHERE pos=2", "position 2"),
        ("events-0.db", "UPDATE records SET pos=9 WHERE pos=3", "position 9"),
        ("events-0.db", "UPDATE dead_letters SET original=x'00'", "1 dead letters"),
        ("learner.db", "UPDATE commits SET frame=frame||x'00' WHERE seq=1", "commit 1"),
        ("learner.db", "UPDATE commits SET merge=x'90' WHERE seq=1", "commit 1"),
    ],
)
def test_doctor_names_what_changed(folder: DataFolder, file: str, sql: str, named: str) -> None:
    learn(folder)
    DataFolder.describe(folder.path)
    change(folder.path / file, sql)
    with pytest.raises(LogError, match=f"{file}.*{named}"):
        DataFolder.describe(folder.path)


def test_a_damaged_decision_is_not_answered_again(folder: DataFolder) -> None:
    (reader,) = folder.readers().values()
    assert reader.find_decision("r") == DECISION
    change(folder.events_path("events-0"), "UPDATE records SET body=replace(body,'i1','i2') WHERE pos=4")
    with pytest.raises(LogError, match="position 4"):
        reader.find_decision("r")
    reader.close()
