"""Files of an older layout are read as they are, and raised by the first program that writes them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from stream.dead_letters import DeadLetter
from stream.log import Claims, Record, SQLiteLog, SQLiteLogReader

EVENTS_1 = """
PRAGMA auto_vacuum=INCREMENTAL; PRAGMA application_id=0x46524553; PRAGMA user_version=1;
CREATE TABLE meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE records(
  pos INTEGER PRIMARY KEY, decision INTEGER NOT NULL, schema INTEGER NOT NULL, backfill INTEGER NOT NULL,
  accepted_at INTEGER NOT NULL, request_id TEXT, body BLOB NOT NULL);
CREATE INDEX by_request ON records(request_id) WHERE request_id IS NOT NULL;
CREATE TABLE dead_letters(
  id INTEGER PRIMARY KEY, at INTEGER NOT NULL, reason TEXT NOT NULL, place TEXT NOT NULL UNIQUE,
  original BLOB NOT NULL);
INSERT INTO records VALUES(1,0,1,0,5,NULL,CAST('[1]' AS BLOB)),(2,1,1,0,6,'r1',CAST('[2]' AS BLOB));
INSERT INTO dead_letters VALUES(1,7,'no event','request/1',CAST('{' AS BLOB));
INSERT INTO meta VALUES('reserved',2);
"""
CLAIMS_1 = """
PRAGMA application_id=0x46524553; PRAGMA user_version=1;
CREATE TABLE claims(
  request_id TEXT PRIMARY KEY, worker TEXT NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX by_age ON claims(at);
INSERT INTO claims VALUES('r1','events-1',5);
"""


def made(path: Path, script: str) -> Path:
    connection = sqlite3.connect(path)
    connection.executescript(f"PRAGMA journal_mode=WAL; {script}")
    connection.close()
    return path


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return made(tmp_path / "events-0.db", EVENTS_1)


def test_an_old_log_is_read_as_it_is(old: Path) -> None:
    reader = SQLiteLogReader(old)
    assert [(record.pos, record.body) for record in reader.read(0, 9)] == [(1, b"[1]"), (2, b"[2]")]
    assert reader.find_decision("r1") == b"[2]" and reader.first_damaged() == 0
    assert reader.dead_letters.newest() == [DeadLetter(7, "no event", "request/1", b"{")]
    assert reader.dead_letters.damaged() == 0
    reader.close()


def test_an_old_log_goes_on_and_finds_old_and_new_decisions(old: Path) -> None:
    log = SQLiteLog(old)
    assert log.append([Record("decision", b"[3]", 7, request_id="r2")]) == [3]
    assert [log.find_decision(request) for request in ("r1", "r2", "r3")] == [b"[2]", b"[3]", None]
    log.dead_letters.add([DeadLetter(8, "no event", "request/2", b"{")])
    log.close()
    reader = SQLiteLogReader(old)
    assert reader.find_decision("r1") == b"[2]" and reader.dead_letters.count() == 2
    assert [record.damaged for record in reader.read(0, 9)] == [False, False, False]
    reader.close()


def test_old_claims_hold_and_the_ids_are_gone(tmp_path: Path) -> None:
    path = made(tmp_path / "claims.db", CLAIMS_1)
    claims = Claims(path, b"a secret of this folder")
    assert claims.claim("r1", "events-0", at=9) == "events-1"
    claims.close()
    assert b"r1" not in path.read_bytes()
