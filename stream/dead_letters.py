"""Dead letters: what could not be read, with the reason, the place and the original bytes.

Each writing process keeps its own, in its own file. Bounds: at most `max_count` letters and `max_bytes` bytes
a file (the oldest go first), at most 64 KiB of the original each, and an age (`expire`). Bytes that are no
text, compressed ones for instance, are never kept: a forgotten user could not be found in them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile
from typing import NamedTuple

from stream.checksum import checksum
from stream.database import Database
from stream.emptying import delete_emptied
from stream.spellings import note_of_unreadable

__all__ = [
    "DEAD_LETTERS",
    "LETTERS_UPGRADE",
    "MAX_ORIGINAL_BYTES",
    "DeadLetter",
    "DeadLetters",
    "kept_original",
]

MAX_ORIGINAL_BYTES = 64 << 10
_SLICE = 256
_EMPTY = "reason='', original=x'', checksum=NULL"
_FULL = "reason<>''"
_DAMAGED = "the letter was changed on the disk: its checksum differs"

DEAD_LETTERS = """
CREATE TABLE IF NOT EXISTS dead_letters(
  id INTEGER PRIMARY KEY, at INTEGER NOT NULL, reason TEXT NOT NULL, place TEXT NOT NULL UNIQUE,
  original BLOB NOT NULL, checksum BLOB);
"""
"""The table, for a file's script."""

LETTERS_UPGRADE = "ALTER TABLE dead_letters ADD COLUMN checksum BLOB"
"""For a file from before letters had checksums."""


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
    Of one that goes nothing remains in the file; its emptied row stays a while (`stream.emptying`).

    Args:
        database: a file whose script contains `DEAD_LETTERS`.
        max_count: letters kept.
        max_bytes: bytes of originals kept.
    """

    def __init__(self, database: Database, *, max_count: int = 10_000, max_bytes: int = 64 << 20) -> None:
        self._database = database
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._kept: _Kept | None = None

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
        kept, self._kept = self._counted(connection), None  # whatever goes wrong, it is counted again
        sql = "INSERT OR IGNORE INTO dead_letters(at, reason, place, original, checksum) VALUES(?,?,?,?,?)"
        for letter in letters:
            original, reason = kept_original(letter.original), letter.reason or "no reason given"
            row = (letter.at, reason, letter.place, original, _check(reason, original))
            if connection.execute(sql, row).rowcount > 0:
                kept.count += 1
                kept.size += len(original)
        while kept.count > self._max_count or kept.size > self._max_bytes:
            last = 0
            for key, _, length in self._oldest(connection, kept.gone):
                last, kept.count, kept.size = key, kept.count - 1, kept.size - length
                if kept.count <= self._max_count and kept.size <= self._max_bytes:
                    break
            self._drop(connection, kept, last)
        self._kept = kept

    def _counted(self, connection: sqlite3.Connection) -> _Kept:
        if self._kept is None:
            sql = (
                "SELECT count(*), coalesce(sum(length(original)), 0), coalesce(min(id), 1) - 1 "
                f"FROM dead_letters WHERE {_FULL}"
            )
            self._kept = _Kept(*connection.execute(sql).fetchone())
        return self._kept

    @staticmethod
    def _oldest(connection: sqlite3.Connection, gone: int) -> list[tuple[int, int, int]]:
        sql = "SELECT id, at, length(original) FROM dead_letters WHERE id > ? ORDER BY id LIMIT ?"
        return connection.execute(sql, (gone, _SLICE)).fetchall()

    @staticmethod
    def _drop(connection: sqlite3.Connection, kept: _Kept, last: int) -> None:
        sql = f"UPDATE dead_letters SET {_EMPTY} WHERE id > ? AND id <= ?"
        connection.execute(sql, (kept.gone, last))
        kept.gone = last
        delete_emptied(connection, "dead_letters", "id", last)

    def expire(self, before: int) -> int:
        """Drop the letters from before `before` (wall ms), a slice at a time; returns how many."""
        dropped = 0
        while True:
            with self._database.transaction(durable=False) as connection:
                kept, self._kept = self._counted(connection), None
                oldest = self._oldest(connection, kept.gone)
                old = [key for key, _, _ in takewhile(lambda row: row[1] < before, oldest)]
                if old:
                    self._drop(connection, kept, old[-1])
            dropped += len(old)
            if len(old) < _SLICE:
                return dropped

    def empty(self, keys: Iterable[int]) -> None:
        """Drop these letters, wherever they stand; nothing of them remains in the file."""
        self._kept = None
        with self._database.transaction(durable=True) as connection:
            connection.executemany(f"UPDATE dead_letters SET {_EMPTY} WHERE id=?", [(key,) for key in keys])

    def after(self, key: int, limit: int = 64) -> list[tuple[int, str, bytes]]:
        """Key, reason and original of the letters behind `key`, oldest first."""
        return self._database.read(
            f"SELECT id, reason, CAST(original AS BLOB) FROM dead_letters "
            f"WHERE id > ? AND {_FULL} ORDER BY id LIMIT ?",
            (key, limit),
        )

    def newest(self, limit: int = 100) -> list[DeadLetter]:
        """The newest letters, newest first; the reason of one whose bytes have changed since says so."""
        checked = "checksum" if self._has_checksums() else "NULL"
        rows = self._database.read(
            f"SELECT at, reason, place, CAST(original AS BLOB), {checked} FROM dead_letters "
            f"WHERE {_FULL} ORDER BY id DESC LIMIT ?",
            (limit,),
        )
        return [
            DeadLetter(at, reason if found in (None, _check(reason, original)) else _DAMAGED, place, original)
            for at, reason, place, original, found in rows
        ]

    def damaged(self) -> int:
        """How many letters are not what was written; reads all of them."""
        if not self._has_checksums():
            return 0
        n, after = 0, 0
        while rows := self._database.read(
            "SELECT id, reason, CAST(original AS BLOB), checksum FROM dead_letters "
            "WHERE id > ? ORDER BY id LIMIT ?",
            (after, _SLICE),
        ):
            after = rows[-1][0]
            n += sum(found not in (None, _check(reason, original)) for _, reason, original, found in rows)
        return n

    def _has_checksums(self) -> bool:
        rows = self._database.read("SELECT 1 FROM pragma_table_info('dead_letters') WHERE name='checksum'")
        return bool(rows)

    def count(self) -> int:
        """Letters kept now."""
        return int(self._database.read(f"SELECT count(*) FROM dead_letters WHERE {_FULL}")[0][0])


@dataclass(slots=True)
class _Kept:
    """Letters, their bytes, and the key up to which rows are emptied."""

    count: int
    size: int
    gone: int


def _check(reason: str, original: bytes) -> bytes:
    return checksum([reason.encode("utf-8", "surrogatepass"), original])
