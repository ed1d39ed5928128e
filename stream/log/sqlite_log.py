"""An event log in one SQLite file: one writing process, readers anywhere on the machine.

Measured on two cores: see `benchmarks/`. Appending a bundle of events costs one synced commit, so a gateway
bundles what arrives within a few milliseconds.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

from stream.database import Database
from stream.dead_letters import DEAD_LETTERS, DeadLetters
from stream.errors import StorageError
from stream.filelock import FileLock
from stream.log.base import Record, RecordKind, stamp

__all__ = ["EVENTS_LAYOUT", "SQLiteLog", "SQLiteLogReader"]

EVENTS_LAYOUT = 1

_SCRIPT = (
    """
CREATE TABLE IF NOT EXISTS records(
  pos INTEGER PRIMARY KEY, decision INTEGER NOT NULL, schema INTEGER NOT NULL, backfill INTEGER NOT NULL,
  accepted_at INTEGER NOT NULL, request_id TEXT, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS by_request ON records(request_id) WHERE request_id IS NOT NULL;
"""
    + DEAD_LETTERS
)
_SELECT = "SELECT pos, decision, schema, backfill, accepted_at, request_id, body FROM records"
_KINDS: tuple[RecordKind, RecordKind] = ("events", "decision")
_RESERVE = 1 << 16
_MOVED_BYTES = 4 << 20  # appended; the write-ahead log holds whole pages and is two to three times as long
_LONGEST_BYTES = 64 << 20  # of the write-ahead log, where nobody calls `relieve`
_PAGE_BYTES = 4_096
_AT_ONCE = 32  # rows up to which one statement adds them all
_INSERT = "INSERT INTO records VALUES(?,?,?,?,?,?,?)"


class SQLiteLogReader:
    """Reads a log that another process writes.

    Raises:
        LogError: the file is missing, damaged, newer, or cannot be read.
    """

    def __init__(self, path: Path, *, still: bool = False) -> None:
        self.database = Database(path, schema=EVENTS_LAYOUT, readonly=True, still=still)
        self.dead_letters = DeadLetters(self.database)

    def read(self, after: int, limit: int, max_bytes: int = 8 << 20) -> list[Record]:
        """Records behind `after`, see `EventReader.read`."""
        sql = f"{_SELECT} WHERE pos > ? ORDER BY pos LIMIT ?"
        return [
            Record(_KINDS[decision], body, accepted_at, bool(backfill), request_id, schema, pos)
            for pos, decision, schema, backfill, accepted_at, request_id, body in self.database.read_some(
                sql, (after, limit), max_bytes
            )
        ]

    def end(self) -> int:
        """Position of the last record in the file, 0 when there is none."""
        return int(self.database.read("SELECT coalesce(max(pos), 0) FROM records")[0][0])

    def last_given(self) -> int:
        """No position up to this one is ever given again; every position ever given is up to this one."""
        return max(self.database.meta("reserved"), self.end())

    def find_decision(self, request_id: str) -> bytes | None:
        """Body of the first decision logged for a request."""
        rows = self.database.read(
            "SELECT body FROM records WHERE request_id=? ORDER BY pos LIMIT 1", (request_id,)
        )
        return bytes(rows[0][0]) if rows else None

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
                max_bytes=max_bytes,
                checkpoint_bytes=_LONGEST_BYTES,
            )
            self._reserved = self.database.meta("reserved")
            self._end = max(self._reserved, super().end())
            rows = self.database.read("SELECT accepted_at FROM records ORDER BY pos DESC LIMIT 1")
        except BaseException:
            self._held.close()
            raise
        self._newest = int(rows[0][0]) if rows else 0
        self._mutex = threading.Lock()
        self._unmoved = 0
        self.dead_letters = DeadLetters(self.database, max_count=max_letters, max_bytes=max_letter_bytes)

    def append(self, records: Sequence[Record], *, durable: bool = True) -> list[int]:
        """Add records in one transaction, see `EventLog.append`."""
        with self._mutex:
            pos, newest = self._end, self._newest
            rows = []
            for record in records:
                pos += 1
                newest = stamp(newest, record.accepted_at)
                decision = record.kind == "decision"
                fixed = (pos, decision, record.schema, record.backfill, newest)
                rows.append((*fixed, record.request_id, record.body))
            reserve = pos > self._reserved
            if rows and not reserve and len(rows) <= _AT_ONCE:
                sql = f"{_INSERT}{',(?,?,?,?,?,?,?)' * (len(rows) - 1)}"
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
