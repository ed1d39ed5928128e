"""The write-ahead log is moved into the file beside the commits, not by them."""

from __future__ import annotations

from pathlib import Path
from threading import Semaphore, Thread

from stream.log import Record, SQLiteLog

BODY = b"x" * 5_000


def wal_bytes(path: Path) -> int:
    return path.with_name(f"{path.name}-wal").stat().st_size


def test_it_begins_anew_while_another_thread_appends(tmp_path: Path) -> None:
    path = tmp_path / "events-0.db"
    log = SQLiteLog(path)
    # A thousand records, five megabytes, may come between two looks: as if they came at a steady rate.
    may_come = Semaphore(1_000)
    n_written = 0

    def append() -> None:
        nonlocal n_written
        while n_written < 8_000:
            may_come.acquire()
            log.append([Record("decision", BODY, accepted_at=1, request_id=f"r{n_written}")], durable=False)
            n_written += 1

    writer = Thread(target=append)
    writer.start()
    n_looked_at = 0
    while writer.is_alive():
        seen = n_written
        log.relieve()
        if seen > n_looked_at:
            may_come.release(seen - n_looked_at)
        n_looked_at = seen
    writer.join()
    # 40 MB and more went in; what is not moved by then is four megabytes of records with their pages.
    assert wal_bytes(path) < 30 << 20
    assert log.end() == n_written == 8_000
    log.close()


def test_little_is_left_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "events-0.db"
    log = SQLiteLog(path)
    log.append([Record("events", BODY, accepted_at=1)], durable=False)
    before = path.stat().st_size
    log.relieve()
    assert path.stat().st_size == before
    log.close()
