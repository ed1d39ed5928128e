"""Decisions on disk until the brokers have them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from stream.engine import EngineSettings
from stream.errors import LogError, StorageError
from stream.log import Record, SQLiteLog, SQLiteLogReader
from stream.retention import Retention

__all__ = ["DecisionOutbox"]

_HOURS_A_DAY = 24


class DecisionOutbox:
    """An `EventLog` whose records are sent on, in order, and then kept for a while to be looked up.

    Bounds: `max_mb` of records that are not sent; beyond it `append` refuses. Sent ones go after
    `keep_hours`, and the oldest of them early while the file weighs more than twice `max_mb`.

    Calls from several threads are serialised.

    Args:
        path: the file, created when missing; one process at a time.

    Raises:
        LogError: the file cannot be used, or another process holds it.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> outbox = DecisionOutbox(Path(folder.name) / "outbox.db")
        >>> outbox.append([Record("decision", b"[{}]", accepted_at=7, request_id="r1")], durable=False)
        [1]
        >>> [record.body for record in outbox.waiting(10)], outbox.n_waiting
        ([b'[{}]'], 1)
        >>> outbox.sent(1)
        >>> outbox.waiting(10), outbox.n_waiting, outbox.find_decision("r1")
        ([], 0, b'[{}]')
        >>> outbox.close(); folder.cleanup()
    """

    def __init__(self, path: Path, *, max_mb: int = 1_024, keep_hours: float = 24.0) -> None:
        self._max_bytes = max_mb << 20
        self._log = SQLiteLog(path)
        self._mutex = threading.Lock()
        self.dead_letters = self._log.dead_letters
        self.finder = SQLiteLogReader(path)
        """Looks decisions up beside the writer, over a connection of its own."""
        self.files = [path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")]
        """What is open here: the file and what SQLite keeps beside it."""
        self._sent = self._log.database.meta("sent")
        kept = EngineSettings(keep_days=keep_hours / _HOURS_A_DAY, keep_mb=2 * max_mb)
        self._retention = Retention("outbox", self._log, self, kept)
        ((self.n_waiting, self.waiting_bytes),) = self._log.database.read(
            "SELECT count(*), coalesce(sum(length(body)), 0) FROM records WHERE pos > ?", (self._sent,)
        )

    def append(self, records: Sequence[Record], *, durable: bool = True) -> list[int]:
        """Add records, all or none, and return their positions.

        Raises:
            LogError: too much waits for the brokers, or the disk refuses.
        """
        size = sum(len(record.body) for record in records)
        self._refuse_too_much(size)
        positions = self._log.append(records, durable=durable)
        with self._mutex:
            self.n_waiting += len(records)
            self.waiting_bytes += size
        return positions

    def require_room(self, n_bytes: int) -> None:
        """Find out whether so many bytes more could be added, see `EventLog.require_room`."""
        self._refuse_too_much(n_bytes)
        self._log.require_room(n_bytes)

    def _refuse_too_much(self, size: int) -> None:
        if self.waiting_bytes + size > self._max_bytes:
            msg = (
                f"outbox: {self.n_waiting} decisions, {self.waiting_bytes} bytes, wait for the brokers, the "
                f"bound is {self._max_bytes}; try again when the brokers are back, or raise [serve] outbox_mb"
            )
            raise LogError(msg)

    def waiting(self, limit: int, max_bytes: int = 8 << 20) -> list[Record]:
        """The oldest records that are not sent, up to `limit`, fewer once they hold `max_bytes`."""
        return self._log.read(self._sent, limit, max_bytes)

    def sent(self, position: int) -> None:
        """The brokers have everything up to `position`. A note that is lost costs that it is sent again."""
        sql = "SELECT count(*), coalesce(sum(length(body)), 0) FROM records WHERE pos > ? AND pos <= ?"
        ((n, size),) = self._log.database.read(sql, (self._sent, position))
        # On a full disk it is noted here only: else the same would be sent again and again.
        with suppress(StorageError):
            sql = "INSERT OR REPLACE INTO meta VALUES('sent',?)"
            self._log.database.write(sql, (position,), durable=False)
        with self._mutex:
            self._sent = position
            self.n_waiting -= n
            self.waiting_bytes -= size

    def trim(self, now_ms: float) -> int:
        """Drop what was sent and is too old or too much; the number of records dropped."""
        return self._retention.trim(now_ms)

    def relieve(self) -> None:
        """Move what was appended out of the write-ahead log, see `SQLiteLog.relieve`."""
        self._log.relieve()

    def covered(self, _source: str) -> int:
        """Records up to here are sent, and may be dropped."""
        return self._sent

    def read(self, after: int, limit: int, max_bytes: int = 8 << 20) -> list[Record]:
        """Records behind `after`, sent or not, see `EventReader.read`."""
        return self._log.read(after, limit, max_bytes)

    def end(self) -> int:
        """Position of the last record."""
        return self._log.end()

    def find_decision(self, request_id: str) -> bytes | None:
        """Body of the first decision logged for a request, as long as it is kept."""
        return self.finder.find_decision(request_id)

    def close(self) -> None:
        """Close the file."""
        self.finder.close()
        self._log.close()
