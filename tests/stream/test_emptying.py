"""Of what leaves a log nothing remains in the file, whatever SQLite moved about before."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import numpy as np
import pytest

from stream.dead_letters import DeadLetter, DeadLetters
from stream.log import Record, SQLiteLog

TAG = re.compile(rb"<(\d{8})>")
SIZES = [(60,), (300,), (700, 1_000), (3_000, 9_000), (20, 400, 20_000)]


def body(pos: int, size: int) -> bytes:
    return (b"<%08d>" % pos * (size // 10 + 1))[: max(size, 10)]


def in_file(log: SQLiteLog) -> set[int]:
    log.database.checkpoint()
    return {int(tag) for tag in TAG.findall(log.database.path.read_bytes())}


@pytest.mark.parametrize("sizes", SIZES)
def test_records_that_were_dropped_or_cut_are_nowhere(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    rng, log, live = np.random.default_rng(sizes[0]), SQLiteLog(tmp_path / "events-0.db"), set[int]()
    dropped = 0
    for _ in range(60):
        first, size = log.end() + 1, int(rng.integers(2, 80))
        bodies = [body(pos, int(rng.choice(sizes))) for pos in range(first, first + size)]
        group = [Record("decision", text, 5, request_id=str(rng.random())) for text in bodies]
        live |= set(log.append(group, durable=False))
        if rng.random() < 0.3:
            dropped = int(rng.integers(dropped, max(live) + 1))
            log.drop(dropped)
            log.database.shrink(50)
        for pos in rng.permutation(sorted(live))[:20].tolist():
            log.cut({pos: [(0, len(record.body)) for record in log.read(pos - 1, 1)]})
            live.discard(pos)
        live = {pos for pos in live if pos > dropped}
    assert in_file(log) == live
    log.drop(max(live))
    assert in_file(log) == set()
    log.close()


def test_request_ids_are_in_no_index(tmp_path: Path) -> None:
    log = SQLiteLog(tmp_path / "events-0.db")
    for n in np.random.default_rng(1).permutation(3_000):
        log.append([Record("decision", b"{}  ", 5, request_id=f"<{n:08}>")], durable=False)
    log.drop(2_000)
    assert len(in_file(log)) == 1_000
    log.close()


def test_letters_that_went_are_nowhere(tmp_path: Path) -> None:
    log = SQLiteLog(tmp_path / "events-0.db")
    letters = DeadLetters(log.database, max_count=700)
    for n in range(1, 3_000, 30):
        letters.add(DeadLetter(at, "unreadable", f"request/{at}", body(at, 60)) for at in range(n, n + 30))
    kept = {letter.at for letter in letters.newest(1_000)}
    assert len(kept) == 700 and in_file(log) == kept
    letters.empty(key for key, _, _ in letters.after(0, 50))
    assert len(in_file(log)) == letters.count() == 650
    log.close()


def test_appends_take_turns_with_the_cutting_of_large_records(tmp_path: Path) -> None:
    log, n_large = SQLiteLog(tmp_path / "events-0.db"), 30
    event = b'{"user_id":"ann"}'
    large = Record("events", b"[" + event + b"," + b'"%s"]' % (b"x" * 2_000_000), 5)
    cuts = {pos: [(1, 1 + len(event))] for pos in log.append([large] * n_large, durable=False)}
    started, done, appended = threading.Event(), threading.Event(), 0

    def append() -> None:
        nonlocal appended
        while not done.is_set():
            log.append([Record("events", b"[]", 5)], durable=False)
            appended += 1
            started.set()

    thread = threading.Thread(target=append)
    thread.start()
    assert started.wait(120)
    before = appended
    log.cut(cuts)
    during = appended - before
    done.set()
    thread.join()
    # One record at a time is changed, and then it is the turn of an append that waits.
    assert during >= n_large / 3
    log.close()
