"""Who answers a request id that a client chose: the first worker to claim it, on the whole machine."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path

from stream.database import Database

__all__ = ["CLAIMS_LAYOUT", "Claims"]

CLAIMS_LAYOUT = 2

_TABLE = """
CREATE TABLE IF NOT EXISTS claims(
  request BLOB PRIMARY KEY, worker TEXT NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID;
"""
_SCRIPT = f"""{_TABLE}
CREATE INDEX IF NOT EXISTS by_age ON claims(at);
"""


class Claims:
    """A small file that all workers write; needed only when there is more than one.

    It holds keyed hashes of request ids, not the ids: nothing needs to be taken out when a user is forgotten.
    Grows by a row a client-chosen request id until `prune` drops the old ones.

    Args:
        path: the file, created when missing.
        key: the folder's secret.

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

    def __init__(self, path: Path, key: bytes = b"") -> None:
        self._key = key
        self._database = Database(path, schema=CLAIMS_LAYOUT, script=_SCRIPT, upgrade=self._raise)

    def _raise(self, connection: sqlite3.Connection, _found: int) -> None:
        """From layout 1, which held the ids themselves."""
        rows = connection.execute("SELECT request_id, worker, at FROM claims").fetchall()
        connection.execute("DROP TABLE claims")
        connection.execute(_TABLE)
        hashed = [(self._hash(request_id), worker, at) for request_id, worker, at in rows]
        connection.executemany("INSERT INTO claims VALUES(?,?,?)", hashed)

    def _hash(self, request_id: str) -> bytes:
        return blake2b(request_id.encode("utf-8", "surrogatepass"), digest_size=16, key=self._key).digest()

    def claim(self, request_id: str, worker: str, *, at: int) -> str:
        """The worker that claimed `request_id` first, which may be `worker`; `at` is wall ms."""
        known = self._owner(request_id)
        if known is not None:
            return known
        with self._database.transaction(durable=False) as connection:
            connection.execute(
                "INSERT OR IGNORE INTO claims VALUES(?,?,?)", (self._hash(request_id), worker, at)
            )
        return self._owner(request_id) or worker

    def _owner(self, request_id: str) -> str | None:
        rows = self._database.read("SELECT worker FROM claims WHERE request=?", (self._hash(request_id),))
        return str(rows[0][0]) if rows else None

    def prune(self, *, before: int) -> int:
        """Drop claims older than `before` (wall ms); returns how many."""
        with self._database.transaction(durable=False) as connection:
            return connection.execute("DELETE FROM claims WHERE at < ?", (before,)).rowcount

    def forget(self, request_ids: Iterable[str]) -> None:
        """Drop the claims of these requests."""
        with self._database.transaction(durable=False) as connection:
            hashes = [(self._hash(request),) for request in request_ids]
            connection.executemany("DELETE FROM claims WHERE request=?", hashes)

    def close(self) -> None:
        """Close the file."""
        self._database.close()
