"""What the owner of logs does beside appending: forgets in the files, retention, the write-ahead log."""

from __future__ import annotations

from collections.abc import Mapping

from stream.clock import Clock
from stream.commits import CommitReader
from stream.engine.settings import EngineSettings
from stream.log import Claims, SQLiteLog
from stream.log_scrub import LogScrub
from stream.retention import Retention

__all__ = ["Housekeeping"]

_RETENTION_S = 60.0


class Housekeeping:
    """Call `run` about twice a second from one thread of the process that writes the logs.

    Args:
        logs: the logs that this process writes, by name (`DataFolder.owned`).
        commits: the learner's file.
        settings: how much is kept.
        clock: wall time for ages, monotonic time between two passes of retention.
        claims: the folder's claims, if there are several workers.

    Example:
        See `tests/stream/test_scrub.py`.
    """

    def __init__(
        self,
        logs: Mapping[str, SQLiteLog],
        commits: CommitReader,
        settings: EngineSettings,
        clock: Clock,
        claims: Claims | None = None,
    ) -> None:
        self._scrubs = [LogScrub(name, log, commits, claims) for name, log in logs.items()]
        self._retention = [Retention(name, log, commits, settings, claims) for name, log in logs.items()]
        self._logs = list(logs.values())
        self._clock = clock
        self._trimmed_at_s = float("-inf")

    def pending(self) -> bool:
        """Whether a forgotten user is still to be taken out of one of these logs."""
        return any(scrub.pending() for scrub in self._scrubs)

    def run(self) -> bool:
        """Rewrite what is ready, trim once a minute; false if readers were in the way and it must run again.

        Raises:
            LogError: a file could not be rewritten or trimmed; call again, nothing is lost.
        """
        for log in self._logs:
            log.relieve()
        # Every log gets its turn, also behind one whose readers are in the way.
        clean = [scrub.run() for scrub in self._scrubs]
        now_s = self._clock.monotonic_s()
        if now_s - self._trimmed_at_s >= _RETENTION_S:
            self._trimmed_at_s = now_s
            for retention in self._retention:
                retention.trim(self._clock.now_ms())
        return all(clean)
