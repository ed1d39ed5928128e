"""The one door to SQLite: opened the same way everywhere, and its errors turned into ours.

Every file is in WAL mode, has one writing process and any number of readers, gives freed pages back
(incremental vacuum) and overwrites what it deletes with zeros (secure delete).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stream.errors import DiskFullError, LogError, StorageError, storage_error
from stream.fairlock import FairLock
from stream.open_files import few_files_note, is_full
from stream.presence import Presence
from stream.room import require_room

__all__ = ["META", "Database"]

META = "CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
"""Table of named numbers that every file carries."""

_APPLICATION_ID = 0x46524553  # "FRES": tells our files from other programs' databases
_CHECKPOINT_BYTES = 8 << 20
_ROUNDS, _FEW_PAGES = 3, 64
_ROOM_BYTES = 1 << 20  # a synced group writes pages beside its rows
_ADVICE = {
    sqlite3.SQLITE_BUSY: "another process holds it; is a second Freshet running on this folder?",
    sqlite3.SQLITE_LOCKED: "another process holds it; is a second Freshet running on this folder?",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; restore it from a backup or move it away",
    sqlite3.SQLITE_NOTADB: "the file is no database (damaged or foreign); restore it or move it away",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check that the folder exists and may be written",
    sqlite3.SQLITE_READONLY: "it may not be written; check the owner and the mode of the folder",
    sqlite3.SQLITE_PERM: "access is denied; check the owner and the mode of the folder",
    sqlite3.SQLITE_IOERR: "the disk reported an error or a quota is used up; nothing was half-written",
}
_MAY_PASS = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_IOERR,
)


class Database:
    """One SQLite file of ours.

    Args:
        path: the file; a writer creates it.
        schema: number of its layout; a file with a larger one is refused.
        script: statements that create missing tables, run by a writer.
        upgrade: raises a file of an older layout, given its number, before the script runs; both happen
            together or not at all.
        readonly: open an existing file for reading only.
        still: for a reader that comes to look once: a file that nobody has open is read as it lies, and no
            file is made beside it; it may lie on a disk that cannot be written.
        timeout_s: how long to wait for another process's transaction.
        max_bytes: bound on the size of the main file; beyond it writes raise `DiskFullError`.
        page_bytes: size of a page of a new file, a power of two up to 65,536. Large rows want large pages:
            each page costs a system call when it is written and another when it is checkpointed.
        zero_freed_pages: overwrite whole pages, too, when they are freed; without it only what is deleted
            from pages that stay in use, and `vacuum` removes the rest.
        checkpoint_bytes: of the write-ahead log, after which the next commit moves it into the file and waits
            for the disk; who cannot wait sets it high and calls `checkpoint_aside`.

    Calls from several threads are served in turn.

    Raises:
        LogError: missing, damaged, foreign, newer, or locked; `DiskFullError` when there is no room.
    """

    def __init__(
        self,
        path: Path,
        *,
        schema: int,
        script: str = "",
        upgrade: Callable[[sqlite3.Connection, int], None] | None = None,
        readonly: bool = False,
        still: bool = False,
        timeout_s: float = 10.0,
        max_bytes: int | None = None,
        page_bytes: int = 4_096,
        zero_freed_pages: bool = True,
        checkpoint_bytes: int = _CHECKPOINT_BYTES,
    ) -> None:
        self.path = path
        self.readonly = readonly
        self._page_bytes = page_bytes
        self._zero_freed_pages = zero_freed_pages
        self._checkpoint_bytes = checkpoint_bytes
        self._aside: sqlite3.Connection | None = None
        self._lock = FairLock()
        self._upgrade = upgrade
        self._synchronous: bool | None = None
        if readonly and not path.is_file():
            msg = f"{path.name} is not there; expected it in {path.parent}; has the writer been started?"
            raise LogError(msg)
        # Opening and closing a file takes away the locks that other connections of this process hold on it.
        if not readonly and not path.exists():
            _make(path)
        with self._translated("opened"):
            uri = f"{path.absolute().as_uri()}?mode={'ro' if readonly else 'rw'}"
            # Whoever has it open has a write-ahead log; so has who was killed, and what is in there counts.
            if still and not path.with_name(f"{path.name}-wal").exists():
                uri += "&immutable=1"
            self._connection = sqlite3.connect(
                uri, uri=True, isolation_level=None, timeout=timeout_s, check_same_thread=False
            )
        try:
            with self._translated("opened"):
                self._prepare(schema, script, max_bytes)
        except LogError:
            self._connection.close()
            raise
        companions = [path.with_name(f"{path.name}{ending}") for ending in ("-wal", "-shm")]
        self._presence = Presence([path], later=[] if readonly else companions)

    def _prepare(self, schema: int, script: str, max_bytes: int | None) -> None:
        execute = self._connection.execute
        (found,) = execute("PRAGMA user_version").fetchone()
        (application,) = execute("PRAGMA application_id").fetchone()
        (tables,) = execute("SELECT count(*) FROM sqlite_master").fetchone()
        if application != _APPLICATION_ID and (tables or self.readonly):
            msg = (
                f"{self.path.name} belongs to another program (application id {application:#x}); move it away"
            )
            raise LogError(msg)
        if found > schema:
            msg = (
                f"{self.path.name} has layout {found}, this program reads up to {schema}; upgrade the program"
            )
            raise LogError(msg)
        execute(f"PRAGMA secure_delete={'ON' if self._zero_freed_pages else 'FAST'}")
        self.layout: int = found
        """Number of the file's layout; for a reader it may be an older one."""
        if self.readonly:
            return
        if not tables:
            execute(f"PRAGMA page_size={self._page_bytes}")
            execute("PRAGMA auto_vacuum=INCREMENTAL")
        execute("PRAGMA journal_mode=WAL").fetchone()
        (page,) = execute("PRAGMA page_size").fetchone()
        execute(f"PRAGMA wal_autocheckpoint={self._checkpoint_bytes // page}")
        execute(f"PRAGMA journal_size_limit={64 << 20}")
        if max_bytes is not None:
            execute(f"PRAGMA max_page_count={max(1, max_bytes // page)}").fetchone()
        if not tables or found < schema:
            self._make(schema, script)
        (self.layout,) = execute("PRAGMA user_version").fetchone()

    def _make(self, schema: int, script: str) -> None:
        """Create what is missing and raise an older layout, together or not at all."""
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        try:
            (found,) = execute("PRAGMA user_version").fetchone()  # another process may have been faster
            if self._upgrade is not None and 0 < found < schema:
                self._upgrade(self._connection, found)
            stamp = f"PRAGMA application_id={_APPLICATION_ID}; PRAGMA user_version={schema};"
            for statement in _statements(f"{META} {script} {stamp}"):
                execute(statement)
            execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                execute("ROLLBACK")

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._explain(doing, error) from error

    def _explain(self, doing: str, error: sqlite3.Error) -> LogError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            msg = (
                f"{self.path.name} could not be {doing}: no room is left on the disk or the file reached its "
                "bound; nothing was half-written; free space or shorten the retention"
            )
            return DiskFullError(msg)
        advice = _ADVICE.get(code, "this is unexpected; run `freshet doctor`")
        kind = StorageError if code in _MAY_PASS else LogError
        if code == sqlite3.SQLITE_CANTOPEN and is_full():
            advice = few_files_note()
        return kind(f"{self.path.name} could not be {doing} ({error}): {advice}")

    def require_room(self, n_bytes: int) -> None:
        """Find out whether so many bytes more have room, without writing any that stay.

        Raises:
            StorageError: the disk or a quota has no room, the file is near its bound, or the disk refuses.
        """
        (pages,), (free,), (most,), (page,) = (
            self.read(f"PRAGMA {name}")[0]
            for name in ("page_count", "freelist_count", "max_page_count", "page_size")
        )
        if (most - pages + free) * page < n_bytes + page:
            msg = (
                f"no room is left: {self.path.name} has reached its bound of {most * page} bytes; shorten "
                "the retention"
            )
            raise DiskFullError(msg)
        require_room(self.path.parent, n_bytes + _ROOM_BYTES, self.path.name)

    def refuse_lost(self) -> None:
        """Refuse a file that is no longer the one that was opened, see `stream.presence`.

        Raises:
            FilesGoneError: it, or its write-ahead log, was deleted or replaced.
        """
        self._presence.refuse()

    def read(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of one query."""
        with self._lock, self._translated("read"):
            return self._connection.execute(sql, parameters).fetchall()

    def read_some(self, sql: str, parameters: Sequence[Any], max_bytes: int) -> list[tuple[Any, ...]]:
        """Rows of a query whose last column is bytes, until these add up to `max_bytes`; at least one row."""
        rows: list[tuple[Any, ...]] = []
        size = 0
        with self._lock, self._translated("read"):
            cursor = self._connection.execute(sql, parameters)
            for row in cursor:
                rows.append(row)
                size += len(row[-1])
                if size >= max_bytes:
                    break
            cursor.close()
        return rows

    @contextmanager
    def transaction(self, *, durable: bool) -> Iterator[sqlite3.Connection]:
        """Statements that happen together or not at all.

        `durable` syncs the write-ahead log, and all that stands in it, before the block ends; otherwise the
        transaction survives a killed process, and power loss only once a later one was durable.
        """
        with self._lock, self._translated("written"):
            self._synchronise(durable)
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def write(self, sql: str, parameters: Sequence[Any], *, durable: bool) -> None:
        """One statement as a transaction of its own; `durable` as for `transaction`.

        Each call of SQLite lets go of the interpreter's lock several times and has to wait for it again: a
        thread that commits beside a busy one is done in a third of the time.
        """
        with self._lock, self._translated("written"):
            self._synchronise(durable)
            self._connection.execute(sql, parameters)

    def _synchronise(self, durable: bool) -> None:
        if durable is not self._synchronous:
            self._connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._synchronous = durable

    def meta(self, name: str, default: int = 0) -> int:
        """A named number of this file."""
        rows = self.read("SELECT value FROM meta WHERE name=?", (name,))
        return int(rows[0][0]) if rows else default

    def set_meta(self, name: str, value: int) -> None:
        """Store a named number durably."""
        with self.transaction(durable=True) as connection:
            connection.execute("INSERT OR REPLACE INTO meta VALUES(?,?)", (name, value))

    def damage(self) -> str:
        """What is broken in the file, in SQLite's words; empty when nothing is. Reads all of it."""
        ((found,),) = self.read("PRAGMA quick_check(1)")
        return "" if found == "ok" else str(found)

    def size(self) -> int:
        """Bytes in pages that hold data: what the file weighs once freed pages are given back."""
        (pages,), (free,), (page,) = (
            self.read(f"PRAGMA {name}")[0] for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * page)

    def shrink(self, n_pages: int) -> None:
        """Give up to `n_pages` freed pages back to the file system with the next checkpoint."""
        with self._lock, self._translated("shortened"):
            # Only a script runs this statement to its end: it yields rows without columns.
            self._connection.executescript(f"PRAGMA incremental_vacuum({n_pages});")

    def checkpoint(self, timeout_s: float = 1.0) -> bool:
        """Move the write-ahead log into the file and cut it; false if readers still needed it at the end."""
        with self._lock:
            ((usual,),) = self.read("PRAGMA busy_timeout")
            self.read(f"PRAGMA busy_timeout={int(timeout_s * 1e3)}")
            try:
                ((busy, _, _),) = self.read("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                self.read(f"PRAGMA busy_timeout={usual}")
        return not busy

    def checkpoint_aside(self) -> None:
        """Move the write-ahead log into the file while others write on; to be called from one thread.

        Nearly all of it goes through a connection of its own. Only with the last few pages, which others keep
        adding to, nobody else may write for a moment, or the log would never begin anew.
        """
        with self._translated("written"):
            if self._aside is None:
                self._aside = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            for _ in range(_ROUNDS):
                ((_, length, moved),) = self._aside.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
                if length - moved <= _FEW_PAGES:
                    break
        self.read("PRAGMA wal_checkpoint(PASSIVE)")

    def vacuum(self) -> None:
        """Write the file anew, so that no page keeps remains of what was deleted."""
        self.read("VACUUM")

    def close(self) -> None:
        """Close the connection; closing twice is fine."""
        with self._lock, self._translated("closed"):
            if self._aside is not None:
                self._aside.close()
            self._connection.close()


def _make(path: Path) -> None:
    """Make a file that only its owner may read; SQLite gives the files beside it the same mode."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        msg = f"{path.name} could not be opened ({error.strerror or error}); check the owner and the disk"
        raise storage_error(msg, error) from error


def _statements(script: str) -> Iterator[str]:
    """The statements of a script, one by one: run as a whole they would end the transaction before them."""
    waiting = ""
    for piece in script.split(";"):
        waiting += piece + ";"
        if sqlite3.complete_statement(waiting):
            if waiting.strip("; \n"):
                yield waiting
            waiting = ""
