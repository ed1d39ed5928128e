"""An event log in memory: for tests, replays and the demo without a disk."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from stream.errors import LogError
from stream.log.base import Record, stamp

__all__ = ["MemoryLog"]


class MemoryLog:
    """Keeps every record for as long as the object lives; grows with what is appended.

    Example:
        >>> log = MemoryLog()
        >>> log.append([Record("events", b"[]", accepted_at=7)])
        [1]
        >>> [(r.pos, r.body) for r in log.read(after=0, limit=10)]
        [(1, b'[]')]
    """

    def __init__(self) -> None:
        self._records: list[Record] = []
        self._decisions: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self._closed = False

    def append(self, records: Sequence[Record], *, durable: bool = True) -> list[int]:
        """Add records; memory knows no difference between durable and not."""
        with self._lock:
            if self._closed:
                msg = "the memory log is closed; open another one"
                raise LogError(msg)
            first = len(self._records) + 1
            newest = self._records[-1].accepted_at if self._records else 0
            for offset, record in enumerate(records):
                newest = stamp(newest, record.accepted_at)
                self._records.append(record._replace(pos=first + offset, accepted_at=newest))
                if record.request_id is not None:
                    self._decisions.setdefault(record.request_id, record.body)
            return list(range(first, first + len(records)))

    def require_room(self, n_bytes: int) -> None:
        """There is always room."""

    def read(self, after: int, limit: int, max_bytes: int = 8 << 20) -> list[Record]:
        """Records behind `after`, see `EventReader.read`."""
        found: list[Record] = []
        size = 0
        for record in self._records[max(0, after) : max(0, after) + limit]:
            found.append(record)
            size += len(record.body)
            if size >= max_bytes:
                break
        return found

    def end(self) -> int:
        """Position of the last record."""
        return len(self._records)

    def find_decision(self, request_id: str) -> bytes | None:
        """Body of the first decision logged for a request."""
        return self._decisions.get(request_id)

    def close(self) -> None:
        """Refuse further records."""
        self._closed = True
