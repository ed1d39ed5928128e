"""What only a file can do wrong: fill up, break, be newer, be shared, be killed."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from stream.errors import DiskFullError, LogError
from stream.log import Claims, Record, SQLiteLog, SQLiteLogReader
from stream.testing_log import clicks


def test_a_reader_sees_what_the_writer_appended(tmp_path: Path) -> None:
    log = SQLiteLog(tmp_path / "e.db")
    reader = SQLiteLogReader(tmp_path / "e.db")
    log.append([clicks(0, 3, accepted_at=1)])
    assert reader.read(0, 10) == log.read(0, 10) != []
    reader.close()
    log.close()


@pytest.mark.parametrize("n", [1, 32, 33, 100])
def test_groups_of_any_size_come_back_as_they_were(tmp_path: Path, n: int) -> None:
    records = [Record("events", b"%d" % m, accepted_at=m) for m in range(n)]
    log = SQLiteLog(tmp_path / "e.db")
    log.append(records[:1])
    assert log.append(records, durable=False) == list(range(2, n + 2))
    assert [record.body for record in log.read(1, 1_000)] == [record.body for record in records]
    log.close()


def test_a_second_writer_is_refused_and_told_who_holds_the_file(tmp_path: Path) -> None:
    log = SQLiteLog(tmp_path / "e.db")
    with pytest.raises(LogError, match=r"in use by process \d+"):
        SQLiteLog(tmp_path / "e.db")
    log.close()
    SQLiteLog(tmp_path / "e.db").close()


def test_a_full_file_takes_nothing_half_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    log = SQLiteLog(tmp_path / "e.db", max_bytes=200_000)
    small, large = clicks(0, 1, accepted_at=1), clicks(1, 5_000, accepted_at=2)
    log.append([small])
    with pytest.raises(DiskFullError, match="nothing was half-written"):
        log.append([small, large])
    assert len(log.read(0, 10)) == 1
    assert log.append([small]) == [2]
    log.close()


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "e.db"
    path.write_bytes(b"not a database at all" * 500)
    with pytest.raises(LogError, match=r"e\.db .*damaged or foreign"):
        SQLiteLog(path)


def test_damage_in_the_middle_is_an_error_and_never_a_wrong_record(tmp_path: Path) -> None:
    path = tmp_path / "e.db"
    log = SQLiteLog(path)
    log.append([clicks(n, 40, accepted_at=n) for n in range(200)])
    log.close()
    data = bytearray(path.read_bytes())
    data[8192:-4096] = b"\xff" * (len(data) - 12288)
    path.write_bytes(data)
    with pytest.raises(LogError, match="damaged"):
        SQLiteLogReader(path).read(0, 1_000)


def test_a_newer_layout_and_a_foreign_database_are_refused(tmp_path: Path) -> None:
    log = SQLiteLog(tmp_path / "e.db")
    log.database.read("PRAGMA user_version=99")
    log.close()
    with pytest.raises(LogError, match="layout 99"):
        SQLiteLogReader(tmp_path / "e.db")
    foreign = sqlite3.connect(tmp_path / "f.db")
    foreign.execute("CREATE TABLE t(x)")
    foreign.close()
    with pytest.raises(LogError, match="another program"):
        SQLiteLog(tmp_path / "f.db")


def test_a_missing_file_is_not_made_by_a_reader(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="is not there"):
        SQLiteLogReader(tmp_path / "e.db")
    assert list(tmp_path.iterdir()) == []


KILLED_WRITER = """
import os, signal, sys
from pathlib import Path
from stream.log import Record, SQLiteLog
log = SQLiteLog(Path(sys.argv[1]))
log.append([Record("decision", b"{}", 5, request_id="r1")], durable=False)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_not_synced_survives_a_kill_and_positions_are_never_given_twice(tmp_path: Path) -> None:
    path = tmp_path / "e.db"
    subprocess.run([sys.executable, "-c", KILLED_WRITER, str(path)], check=False, timeout=120)
    log = SQLiteLog(path)
    assert log.find_decision("r1") == b"{}"
    (pos,) = log.append([Record("events", b"[]", 6)])
    # The killed writer had reserved a block; a position in it may have been read and then lost.
    assert pos > 65_536
    log.close()
    log = SQLiteLog(path)
    assert log.append([Record("events", b"[]", 7)]) == [pos + 1]
    log.close()


def test_the_first_claim_wins_across_connections(tmp_path: Path) -> None:
    one, two = Claims(tmp_path / "claims.db"), Claims(tmp_path / "claims.db")
    assert [one.claim("r", "a", at=1), two.claim("r", "b", at=2), one.claim("r", "a", at=3)] == ["a"] * 3
    assert two.prune(before=2) == 1
    assert two.claim("r", "b", at=4) == "b"
    one.close()
    two.close()
