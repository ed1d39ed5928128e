"""An event log in one SQLite file: one writing process, readers anywhere on the machine.

Measured on two cores: see `benchmarks/`. Appending a bundle of events costs one synced commit, so a gateway
bundles what arrives within a few milliseconds.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Any

from stream.checksum import checksum
from stream.cuts import Span, cut
from stream.database import Database
from stream.dead_letters import DEAD_LETTERS, LETTERS_UPGRADE, DeadLetters
from stream.emptying import delete_emptied
from stream.errors import LogError, StorageError
from stream.filelock import FileLock
from stream.log.base import DAMAGED, Record, RecordKind, stamp

__all__ = ["EVENTS_LAYOUT", "SQLiteLog", "SQLiteLogReader"]

EVENTS_LAYOUT = 2

_TABLE = """
CREATE TABLE IF NOT EXISTS records(
  pos INTEGER PRIMARY KEY, decision INTEGER NOT NULL, schema INTEGER NOT NULL, backfill INTEGER NOT NULL,
  accepted_at INTEGER NOT NULL, request_id TEXT, body BLOB NOT NULL, request_hash INTEGER, checksum BLOB);
"""
# The index holds no ids, only hashes: what SQLite moves about in it may leave copies behind.
_INDEX = """
CREATE INDEX IF NOT EXISTS by_request_hash ON records(request_hash) WHERE request_hash IS NOT NULL;
INSERT OR IGNORE INTO meta VALUES('salt', random());
"""
_CLEAN = "INSERT OR IGNORE INTO meta SELECT 'clean', NOT EXISTS(SELECT 1 FROM records);"
_SCRIPT = _TABLE + _INDEX + _CLEAN + DEAD_LETTERS
_SELECT = (
    "SELECT pos, decision, schema, backfill, accepted_at, request_id, checksum, CAST(body AS BLOB) "
    "FROM records"
)
_KINDS: tuple[RecordKind, RecordKind] = ("events", "decision")
_RESERVE = 1 << 16
_MOVED_BYTES = 4 << 20  # appended; the write-ahead log holds whole pages and is two to three times as long
_HELD_BYTES = 256 << 10  # of bodies, changed in one transaction behind which appends wait
_LONGEST_BYTES = 64 << 20  # of the write-ahead log, where nobody calls `relieve`
_PAGE_BYTES = 4_096
_AT_ONCE = 32  # rows up to which one statement adds them all
_INSERT = "INSERT INTO records VALUES(?,?,?,?,?,?,?,?,?)"
_NOTHING = b"[]"
_READ_AT_ONCE = 500


def _upgrade(connection: sqlite3.Connection, _found: int) -> None:
    """From layout 1, which found decisions by an index of request ids."""
    for column in ("request_hash INTEGER", "checksum BLOB"):
        connection.execute(f"ALTER TABLE records ADD COLUMN {column}")
    connection.execute(LETTERS_UPGRADE)
    connection.execute("INSERT OR IGNORE INTO meta VALUES('salt', random())")
    ((salt,),) = connection.execute("SELECT value FROM meta WHERE name='salt'")
    connection.create_function("request_hash", 1, lambda text: _hash(text, salt))
    # A row cannot be given its hash without being moved: the hashes of these stand in a table of their own.
    connection.execute(
        "CREATE TABLE early_requests(hash INTEGER, pos INTEGER, PRIMARY KEY(hash, pos)) WITHOUT ROWID"
    )
    connection.execute(
        "INSERT INTO early_requests SELECT request_hash(request_id), pos FROM records "
        "WHERE request_id IS NOT NULL"
    )
    connection.execute("DROP INDEX IF EXISTS by_request")


def _hash(request_id: str, salt: int) -> int:
    key = salt.to_bytes(8, "little", signed=True)
    data = request_id.encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(data, digest_size=8, key=key).digest(), "little", signed=True)


def _check(pos: int, decision: int, backfill: int, body: bytes) -> bytes:
    return checksum([body], pos << 2 | decision << 1 | backfill)


class SQLiteLogReader:
    """Reads a log that another process writes.

    Raises:
        LogError: the file is missing, damaged, newer, or cannot be read.
    """

    def __init__(self, path: Path, *, still: bool = False) -> None:
        self.database = Database(path, schema=EVENTS_LAYOUT, readonly=True, still=still)
        self.dead_letters = DeadLetters(self.database)
        self._look()

    def _look(self) -> None:
        """What an older file does not have."""
        old = self.database.layout < EVENTS_LAYOUT
        self._select = _SELECT.replace("checksum", "NULL") if old else _SELECT
        self._salt = self.database.meta("salt")
        self._early = bool(self.database.read("SELECT 1 FROM sqlite_master WHERE name='early_requests'"))

    def read(self, after: int, limit: int, max_bytes: int = 8 << 20) -> list[Record]:
        """Records behind `after`, see `EventReader.read`."""
        sql = f"{self._select} WHERE pos > ? ORDER BY pos LIMIT ?"
        return [self._record(*row) for row in self.database.read_some(sql, (after, limit), max_bytes)]

    @staticmethod
    def _record(
        pos: int,
        decision: int,
        schema: int,
        backfill: int,
        accepted_at: int,
        request_id: str | None,
        check: bytes | None,
        body: bytes,
    ) -> Record:
        damaged = check is not None and check != _check(pos, decision, backfill, body)
        kind = _KINDS[decision]
        return Record(kind, body, accepted_at, bool(backfill), request_id, schema, pos, damaged)

    def end(self) -> int:
        """Position of the last record in the file, 0 when there is none."""
        return int(self.database.read("SELECT coalesce(max(pos), 0) FROM records")[0][0])

    def last_given(self) -> int:
        """No position up to this one is ever given again; every position ever given is up to this one."""
        return max(self.database.meta("reserved"), self.end())

    def find_decision(self, request_id: str) -> bytes | None:
        """Body of the first decision logged for a request.

        Raises:
            LogError: it is damaged.
        """
        record = self._find(request_id)
        if record is not None and record.damaged:
            raise LogError(self.say_damaged(record.pos))
        return bytes(record.body) if record is not None else None

    def _find(self, request_id: str) -> Record | None:
        digest = _hash(request_id, self._salt)
        wheres: list[tuple[str, int | str]] = [("request_hash=?", digest)]
        if self._early:
            wheres.insert(0, ("pos IN (SELECT pos FROM early_requests WHERE hash=?)", digest))
        if self.database.layout < EVENTS_LAYOUT:
            wheres = [("request_id=?", request_id)]
        for where, key in wheres:
            sql = f"{self._select} WHERE {where} AND request_id=? ORDER BY pos LIMIT 1"
            for row in self.database.read(sql, (key, request_id)):
                return self._record(*row)
        return None

    def first_damaged(self) -> int:
        """Position of the first record whose bytes are not those that were appended, 0 if there is none."""
        after = 0
        while records := self.read(after, _READ_AT_ONCE):
            after = records[-1].pos
            for record in records:
                if record.damaged:
                    return record.pos
        return 0

    def say_damaged(self, pos: int) -> str:
        """What is wrong with a damaged record, and what to do."""
        return f"{self.database.path.name}, position {pos}: {DAMAGED}"

    def close(self) -> None:
        """Close the file."""
        self.database.close()


class SQLiteLog(SQLiteLogReader):
    """The log and its only writer; a second writer is refused.

    Positions are reserved durably in blocks of 65,536 and a reopened file goes on behind the reserved block
    unless it was closed cleanly. So a position is never given twice, even if the power went before records
    that were not durable reached the disk: whoever had read these must not take their successors for them.

    Args:
        path: the file, created when missing.
        max_bytes: bound on the file's size, beyond it `append` raises `DiskFullError`; retention keeps below.
        max_letters, max_letter_bytes: bounds of its dead letters.

    Raises:
        LogError: the file cannot be used, or another process writes it.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> log = SQLiteLog(Path(folder.name) / "events-0.db")
        >>> log.append([Record("decision", b"{}", accepted_at=7, request_id="r1")], durable=False)
        [1]
        >>> log.find_decision("r1")
        b'{}'
        >>> log.close(); folder.cleanup()
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int | None = None,
        max_letters: int = 10_000,
        max_letter_bytes: int = 64 << 20,
    ) -> None:
        self._held = FileLock(path.with_name(f"{path.name}.lock"), f"{path.name}")
        try:
            self.database = Database(
                path,
                schema=EVENTS_LAYOUT,
                script=_SCRIPT,
                upgrade=_upgrade,
                max_bytes=max_bytes,
                checkpoint_bytes=_LONGEST_BYTES,
            )
            self._reserved = self.database.meta("reserved")
            self._end = max(self._reserved, super().end())
            rows = self.database.read("SELECT accepted_at FROM records ORDER BY pos DESC LIMIT 1")
            self._look()
            self._drop_early()
        except BaseException:
            self._held.close()
            raise
        self._newest = int(rows[0][0]) if rows else 0
        self._mutex = threading.Lock()
        self._unmoved = 0
        self.dead_letters = DeadLetters(self.database, max_count=max_letters, max_bytes=max_letter_bytes)

    def _drop_early(self) -> None:
        """Once no row of an older layout is left."""
        if not self._early:
            return
        sql = "SELECT coalesce((SELECT pos FROM records WHERE length(body) > ? ORDER BY pos LIMIT 1), 0)"
        ((first,),) = self.database.read(sql, (len(_NOTHING),))
        ((last,),) = self.database.read("SELECT coalesce(max(pos), 0) FROM early_requests")
        if first > last or not first:
            with self.database.transaction(durable=True) as connection:
                connection.execute("DROP TABLE early_requests")
            self._early = False

    def append(self, records: Sequence[Record], *, durable: bool = True) -> list[int]:
        """Add records in one transaction, see `EventLog.append`."""
        with self._mutex:
            pos, newest = self._end, self._newest
            rows = []
            for record in records:
                pos += 1
                newest = stamp(newest, record.accepted_at)
                decision, request_id, body = record.kind == "decision", record.request_id, record.body
                rows.append(
                    (
                        *(pos, decision, record.schema, record.backfill, newest, request_id, body),
                        None if request_id is None else _hash(request_id, self._salt),
                        _check(pos, decision, record.backfill, body),
                    )
                )
            reserve = pos > self._reserved
            if rows and not reserve and len(rows) <= _AT_ONCE:
                sql = f"{_INSERT}{',(?,?,?,?,?,?,?,?,?)' * (len(rows) - 1)}"
                self.database.write(sql, list(chain.from_iterable(rows)), durable=durable)
            else:
                self._append_many(rows, pos + _RESERVE if reserve else 0, durable)
            positions = list(range(self._end + 1, pos + 1))
            self._end, self._newest = pos, newest
            self._unmoved += _PAGE_BYTES + sum(len(record.body) for record in records)
            if durable:
                # Nobody may hear that they are safe when the file was deleted.
                self.database.refuse_lost()
            return positions

    def _append_many(self, rows: Sequence[tuple[Any, ...]], reserved: int, durable: bool) -> None:
        """Add rows and, unless it is 0, note up to where positions are reserved."""
        with self.database.transaction(durable=durable or reserved > 0) as connection:
            if reserved:
                connection.execute("INSERT OR REPLACE INTO meta VALUES('reserved',?)", (reserved,))
            connection.executemany(_INSERT, rows)
        self._reserved = reserved or self._reserved

    def require_room(self, n_bytes: int) -> None:
        """Find out whether so many bytes more could be added, see `EventLog.require_room`."""
        self.database.require_room(n_bytes)

    def relieve(self) -> None:
        """Move what was appended out of the write-ahead log once that is long; appending goes on meanwhile.

        To be called twice a second or so from one thread, else now and then an append waits for the disk.
        """
        if self._unmoved >= _MOVED_BYTES:
            self._unmoved = 0
            self.database.checkpoint_aside()

    def cut(self, cuts: Mapping[int, Sequence[Span]]) -> int:
        """Overwrite parts of bodies, by position, where they stand; returns the bytes of the bodies changed.

        No row moves, so no copy of what was cut remains in the file. Cutting twice changes nothing.
        """
        size, left = 0, list(cuts.items())[::-1]
        while left:
            # Appends wait behind a transaction, and a record may be as large as a request.
            held = 0
            with self.database.transaction(durable=False) as connection:
                while left and held < _HELD_BYTES:
                    pos, spans = left.pop()
                    for row in connection.execute(f"{self._select} WHERE pos=?", (pos,)).fetchall():
                        held += self._cut(connection, self._record(*row), spans)
            size += held
        self._unmoved += size
        return size

    def _cut(self, connection: sqlite3.Connection, record: Record, spans: Sequence[Span]) -> int:
        pos, (text, changed) = record.pos, cut(record.body, spans)
        if text.translate(None, b" \t\r\n") == _NOTHING:
            self._empty(connection, pos, pos)
            return len(text)
        with connection.blobopen("records", "body", pos) as blob:
            for start, end in changed:
                blob.seek(start)
                blob.write(text[start:end])
        # What was damaged before stays so.
        check = bytes(4) if record.damaged else _check(pos, record.kind == "decision", record.backfill, text)
        connection.execute("UPDATE records SET checksum=? WHERE pos=? AND checksum IS NOT NULL", (check, pos))
        return len(text)

    @staticmethod
    def _empty(connection: sqlite3.Connection, first: int, last: int) -> None:
        # A row that only gets smaller stays where it is.
        sql = (
            "UPDATE records SET body=?, request_id=NULL, request_hash=NULL, checksum=NULL "
            "WHERE pos BETWEEN ? AND ? AND length(body) > ?"
        )
        connection.execute(sql, (_NOTHING, first, last, len(_NOTHING)))

    def drop(self, upto: int) -> None:
        """Drop the records up to a position; nothing of them remains in the file, see `stream.emptying`."""
        with self.database.transaction(durable=False) as connection:
            self._empty(connection, 0, upto)
            delete_emptied(connection, "records", "pos", upto)

    def close(self) -> None:
        """Give the unused positions back and close the file."""
        with self._mutex:
            if self._held.closed:
                return
            try:
                # Without the note the next start leaves a gap in the positions, no more.
                with suppress(StorageError):
                    self.database.set_meta("reserved", self._end)
                self.database.close()
            finally:
                self._held.close()
