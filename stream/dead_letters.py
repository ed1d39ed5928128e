"""Dead letters: what could not be read, with the reason, the place and the original bytes.

Each writing process keeps its own, in its own file. Bounds: at most `max_count` letters and `max_bytes` bytes
a file (the oldest go first), and at most 64 KiB of the original each.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

from stream.database import Database

__all__ = ["DEAD_LETTERS", "MAX_ORIGINAL_BYTES", "DeadLetter", "DeadLetters"]

MAX_ORIGINAL_BYTES = 64 << 10

DEAD_LETTERS = """
CREATE TABLE IF NOT EXISTS dead_letters(
  id INTEGER PRIMARY KEY, at INTEGER NOT NULL, reason TEXT NOT NULL, place TEXT NOT NULL UNIQUE,
  original BLOB NOT NULL);
"""
"""The table, for a file's script."""


class DeadLetter(NamedTuple):
    """`at`: wall ms; `place`: where it stood, such as ``events-0/17``, unique in its file."""

    at: int
    reason: str
    place: str
    original: bytes


class DeadLetters:
    """The dead letters of one file.

    Args:
        database: a file whose script contains `DEAD_LETTERS`.
        max_count: letters kept.
        max_bytes: bytes of originals kept.
    """

    def __init__(self, database: Database, *, max_count: int = 10_000, max_bytes: int = 64 << 20) -> None:
        self._database = database
        self._max_count = max_count
        self._max_bytes = max_bytes

    def add(self, letters: Iterable[DeadLetter]) -> None:
        """Keep these, in a transaction of their own; a place that is known already is not kept twice."""
        with self._database.transaction(durable=False) as connection:
            self.add_within(connection, letters)

    def add_within(self, connection: sqlite3.Connection, letters: Iterable[DeadLetter]) -> None:
        """Keep these as part of the caller's transaction, and drop the oldest beyond the bounds."""
        connection.executemany(
            "INSERT OR IGNORE INTO dead_letters(at, reason, place, original) VALUES(?,?,?,?)",
            [(x.at, x.reason, x.place, x.original[:MAX_ORIGINAL_BYTES]) for x in letters],
        )
        connection.execute(
            "DELETE FROM dead_letters WHERE id IN (SELECT id FROM (SELECT id, row_number() OVER newest AS n, "
            "sum(length(original)) OVER newest AS bytes FROM dead_letters "
            "WINDOW newest AS (ORDER BY id DESC)) WHERE n > ? OR bytes > ?)",
            (self._max_count, self._max_bytes),
        )

    def newest(self, limit: int = 100) -> list[DeadLetter]:
        """The newest letters, newest first."""
        rows = self._database.read(
            "SELECT at, reason, place, original FROM dead_letters ORDER BY id DESC LIMIT ?", (limit,)
        )
        return [DeadLetter(*row) for row in rows]

    def count(self) -> int:
        """Letters kept now."""
        return int(self._database.read("SELECT count(*) FROM dead_letters")[0][0])
