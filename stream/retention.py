"""How long logs are kept: by age and by size, and never less than what a restart may need."""

from __future__ import annotations

from typing import Protocol

from stream.database import Database
from stream.engine.settings import EngineSettings
from stream.log import Claims, SQLiteLog

__all__ = ["Covered", "Retention"]

_SLICE = 2_000
_SLICE_BYTES = 4 << 20  # overwritten in one transaction, behind which appends wait
_SHRUNK_PAGES = 2_048
_PATIENCE_S = 0.02  # appends wait as long; what is not cut now is cut the next time
_DAY_MS = 86_400_000


class Covered(Protocol):
    """Whoever knows what is needed no longer; `stream.commits.CommitReader` is one."""

    def covered(self, source: str) -> int:
        """Records of this log up to here may go."""


class Retention:
    """Drops the oldest records of a log; its owner calls `trim` from time to time, in a thread of its own.

    Only records that both kept snapshots hold may go. Of these go the ones older than `keep_days` (by
    `accepted_at`), and the oldest while the file weighs more than `keep_mb`. If the learner stands still the
    file grows on until `max_mb`, where appending is refused.

    Example:
        See `tests/stream/test_retention.py`.
    """

    def __init__(
        self,
        source: str,
        log: SQLiteLog,
        commits: Covered,
        settings: EngineSettings,
        claims: Claims | None = None,
    ) -> None:
        self._source = source
        self._log = log
        self._commits = commits
        self._settings = settings
        self._claims = claims

    def trim(self, now_ms: float) -> int:
        """Drop what is too old at wall time `now_ms` or too much; returns the number of records dropped."""
        before = int(now_ms - self._settings.keep_days * _DAY_MS)
        if self._claims is not None:
            self._claims.prune(before=before)
        self._log.dead_letters.expire(int(now_ms - self._settings.letter_days * _DAY_MS))
        covered = self._commits.covered(self._source)
        dropped = 0
        # A slice at a time, so that appends never wait for long.
        while n := self._drop_slice(self._log.database, covered, before):
            dropped += n
        if dropped:
            self._log.database.checkpoint_aside()
            self._log.database.checkpoint(timeout_s=_PATIENCE_S)
        return dropped

    def _drop_slice(self, database: Database, covered: int, before: int) -> int:
        # Rows of two bytes are emptied ones that are still there.
        sql = (
            "SELECT pos, accepted_at, length(body) FROM records WHERE pos <= ? AND length(body) > 2 "
            "ORDER BY pos LIMIT ?"
        )
        excess = database.size() - (self._settings.keep_mb << 20)
        cut = n = weight = 0
        for pos, accepted_at, size in database.read(sql, (covered, _SLICE)):
            if (accepted_at >= before and excess <= 0) or (n and weight + size > _SLICE_BYTES):
                break
            cut, n, weight, excess = pos, n + 1, weight + size, excess - size
        if cut:
            self._log.drop(cut)
            database.shrink(_SHRUNK_PAGES)
        return n
