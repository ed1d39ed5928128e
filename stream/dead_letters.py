"""Dead letters: what could not be read, with the reason, the place and the original bytes.

Each writing process keeps its own, in its own file. Bounds: at most `max_count` letters and `max_bytes` bytes
a file (the oldest go first), at most 64 KiB of the original each, and an age (`expire`). Bytes that are no
text, compressed ones for instance, are never kept: a forgotten user could not be found in them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from itertools import takewhile
from typing import NamedTuple

from stream.database import Database
from stream.spellings import note_of_unreadable

__all__ = ["DEAD_LETTERS", "MAX_ORIGINAL_BYTES", "DeadLetter", "DeadLetters", "kept_original"]

MAX_ORIGINAL_BYTES = 64 << 10
_SLICE = 256

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


def kept_original(original: bytes) -> bytes:
    """What is kept of bytes that could not be read: the first 64 KiB, or a note if they are no text.

    Example:
        >>> kept_original(b'{"type": "click"'), kept_original(bytes(20))[:17]
        (b'{"type": "click"', b'(20 bytes of no t')
    """
    first = original[:MAX_ORIGINAL_BYTES]
    return note_of_unreadable(first, len(original)) or first


class DeadLetters:
    """The dead letters of one file.

    Keeping one costs the same however many there are: their number and bytes are counted once, at the first.

    Args:
        database: a file whose script contains `DEAD_LETTERS`.
        max_count: letters kept.
        max_bytes: bytes of originals kept.
    """

    def __init__(self, database: Database, *, max_count: int = 10_000, max_bytes: int = 64 << 20) -> None:
        self._database = database
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._kept: tuple[int, int] | None = None

    def add(self, letters: Iterable[DeadLetter]) -> None:
        """Keep these, in a transaction of their own; a place that is known already is not kept twice."""
        try:
            with self._database.transaction(durable=False) as connection:
                self.add_within(connection, letters)
        except BaseException:
            self._kept = None
            raise

    def add_within(self, connection: sqlite3.Connection, letters: Iterable[DeadLetter]) -> None:
        """Keep these as part of the caller's transaction, and drop the oldest beyond the bounds."""
        count, size = self._counted(connection)
        self._kept = None  # until all is done: whatever goes wrong, it is counted again
        for letter in letters:
            original = kept_original(letter.original)
            sql = "INSERT OR IGNORE INTO dead_letters(at, reason, place, original) VALUES(?,?,?,?)"
            if connection.execute(sql, (letter.at, letter.reason, letter.place, original)).rowcount > 0:
                count, size = count + 1, size + len(original)
        while count > self._max_count or size > self._max_bytes:
            last = 0
            for key, _, length in self._oldest(connection):
                last, count, size = key, count - 1, size - length
                if count <= self._max_count and size <= self._max_bytes:
                    break
            connection.execute("DELETE FROM dead_letters WHERE id <= ?", (last,))
        self._kept = (count, size)

    def _counted(self, connection: sqlite3.Connection) -> tuple[int, int]:
        if self._kept is None:
            sql = "SELECT count(*), coalesce(sum(length(original)), 0) FROM dead_letters"
            self._kept = connection.execute(sql).fetchone()
        return self._kept

    @staticmethod
    def _oldest(connection: sqlite3.Connection) -> list[tuple[int, int, int]]:
        sql = "SELECT id, at, length(original) FROM dead_letters ORDER BY id LIMIT ?"
        return connection.execute(sql, (_SLICE,)).fetchall()

    def expire(self, before: int) -> int:
        """Drop the letters from before `before` (wall ms), a slice at a time; returns how many."""
        dropped = 0
        while True:
            with self._database.transaction(durable=False) as connection:
                oldest = self._oldest(connection)
                old = [key for key, _, _ in takewhile(lambda row: row[1] < before, oldest)]
                connection.execute("DELETE FROM dead_letters WHERE id <= ?", (old[-1] if old else 0,))
                self._kept = None if old else self._kept
            dropped += len(old)
            if len(old) < _SLICE:
                return dropped

    def after(self, key: int, limit: int = 64) -> list[tuple[int, str, bytes]]:
        """Key, reason and original of the letters behind `key`, oldest first."""
        return self._database.read(
            "SELECT id, reason, original FROM dead_letters WHERE id > ? ORDER BY id LIMIT ?", (key, limit)
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
