"""Dead letters cost little however many there are, and grow old."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.dead_letters import DeadLetter, DeadLetters
from stream.log import SQLiteLog


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SQLiteLog]:
    log = SQLiteLog(tmp_path / "events-0.db")
    yield log
    log.close()


def letters(first: int, count: int, original: bytes = b"{") -> list[DeadLetter]:
    return [DeadLetter(n, "unreadable", f"request/{n}", original) for n in range(first, first + count)]


def steps_of_one(log: SQLiteLog, kept: int) -> int:
    """Steps of SQLite's machine for one letter more than `kept`."""
    steps = [0]
    book = DeadLetters(log.database, max_count=kept)
    book.add(letters(0, kept))

    def step() -> int:
        steps[0] += 1
        return 0

    with log.database.transaction(durable=False) as connection:
        connection.set_progress_handler(step, 1)
        book.add_within(connection, letters(kept, 1))
        connection.set_progress_handler(None, 0)
    return steps[0]


def test_one_more_costs_no_more_when_the_table_is_full(log: SQLiteLog, tmp_path: Path) -> None:
    other = SQLiteLog(tmp_path / "events-1.db")
    assert steps_of_one(log, 5_000) <= steps_of_one(other, 300)
    other.close()


def test_a_compressed_body_is_never_kept(log: SQLiteLog) -> None:
    packed = gzip.compress(b'{"user_id": "ann"}')
    log.dead_letters.add(letters(0, 1, packed))
    (kept,) = log.dead_letters.newest()
    assert b"gzip" in kept.original and packed[10:] not in kept.original


def test_old_letters_go(log: SQLiteLog) -> None:
    log.dead_letters.add(letters(0, 1_000))
    assert log.dead_letters.expire(before=990) == 990
    assert [letter.at for letter in log.dead_letters.newest()] == list(range(999, 989, -1))


def test_bounds_hold_after_a_transaction_that_failed(log: SQLiteLog) -> None:
    book = DeadLetters(log.database, max_count=3)
    with pytest.raises(AttributeError):
        book.add([*letters(0, 2), None])  # type: ignore[list-item]
    book.add(letters(0, 5))
    assert [letter.at for letter in book.newest()] == [4, 3, 2]
