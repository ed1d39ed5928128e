"""Who answers a request id that a client chose: the first worker to claim it, on the whole machine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from stream.database import Database

__all__ = ["CLAIMS_LAYOUT", "Claims"]

CLAIMS_LAYOUT = 1

_SCRIPT = """
CREATE TABLE IF NOT EXISTS claims(
  request_id TEXT PRIMARY KEY, worker TEXT NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_age ON claims(at);
"""


class Claims:
    """A small file that all workers write; needed only when there is more than one.

    Grows by a row a client-chosen request id until `prune` drops the old ones.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> claims = Claims(Path(folder.name) / "claims.db")
        >>> claims.claim("r1", "events-0", at=5), claims.claim("r1", "events-1", at=6)
        ('events-0', 'events-0')
        >>> claims.prune(before=6)
        1
        >>> claims.close(); folder.cleanup()
    """

    def __init__(self, path: Path) -> None:
        self._database = Database(path, schema=CLAIMS_LAYOUT, script=_SCRIPT)

    def claim(self, request_id: str, worker: str, *, at: int) -> str:
        """The worker that claimed `request_id` first, which may be `worker`; `at` is wall ms."""
        known = self._owner(request_id)
        if known is not None:
            return known
        with self._database.transaction(durable=False) as connection:
            connection.execute("INSERT OR IGNORE INTO claims VALUES(?,?,?)", (request_id, worker, at))
        return self._owner(request_id) or worker

    def _owner(self, request_id: str) -> str | None:
        rows = self._database.read("SELECT worker FROM claims WHERE request_id=?", (request_id,))
        return str(rows[0][0]) if rows else None

    def prune(self, *, before: int) -> int:
        """Drop claims older than `before` (wall ms); returns how many."""
        with self._database.transaction(durable=False) as connection:
            return connection.execute("DELETE FROM claims WHERE at < ?", (before,)).rowcount

    def forget(self, request_ids: Iterable[str]) -> None:
        """Drop the claims of these requests, and what the file keeps of them."""
        with self._database.transaction(durable=True) as connection:
            connection.executemany("DELETE FROM claims WHERE request_id=?", [(r,) for r in request_ids])
        self._database.checkpoint()

    def close(self) -> None:
        """Close the file."""
        self._database.close()
