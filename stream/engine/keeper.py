"""When the learner's snapshots are written, and what each of them makes needless."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

from stream.clock import Clock
from stream.commits import CommitLog
from stream.engine.settings import EngineSettings
from stream.engine.snapshots import SnapshotStore
from stream.errors import SnapshotError
from stream.frame import Frame
from stream.scrub import LearnerScrub

__all__ = ["SnapshotKeeper"]

_MAX_COMMITS = 10_000
_LOOK_S = 1.0
_log = logging.getLogger(__name__)
_DAY_MS = 86_400_000


class _Writing(NamedTuple):
    seq: int
    positions: dict[str, int]
    written: Future[int]


class SnapshotKeeper:
    """Writes snapshots beside learning, keeps two, and trims what none of them needs.

    One is due when something was learned and `snapshot_s` have passed, when the deltas since the last weigh
    `snapshot_mb` or number 10,000, when somebody deleted the newest, and `forget_s` after the last if a
    forget waits. A pending forget leaves only the newest: an older snapshot still holds the user.
    """

    def __init__(
        self,
        store: SnapshotStore,
        commits: CommitLog,
        clock: Clock,
        settings: EngineSettings,
        scrubs: LearnerScrub | None,
    ) -> None:
        self._store = store
        self._commits = commits
        self._clock = clock
        self._settings = settings
        self._scrubs = scrubs
        self._pool = ThreadPoolExecutor(1, "snapshots")
        self._writing: _Writing | None = None
        self._kept: dict[int, dict[str, int]] = {}
        self._started_s = clock.monotonic_s()
        self._records = 0
        self._bytes = 0
        self._wanted = self._gone = False
        self._looked_s = clock.monotonic_s()
        self._seq = 0

    def load(self) -> tuple[Frame | None, list[str]]:
        """The newest good snapshot, and what was wrong with newer ones, which are deleted.

        Raises:
            SnapshotError: there are snapshots and none can be read.
        """
        frame, problems = self._store.load()
        if frame is not None:
            self._seq = frame["seq"]
            self._store.remove_newer(self._seq)
            self._kept = {seq: at for seq, at in self._commits.snapshots() if seq < self._seq}
            self._kept[self._seq] = dict(frame["positions"])
        return frame, problems

    def note(self, n_records: int, n_bytes: int, *, forgets: bool = False) -> None:
        """So much was committed since."""
        self._records += n_records
        self._bytes += n_bytes
        self._wanted = self._wanted or forgets

    def recovered(self, n_records: int) -> None:
        """So many records had to be run again since the snapshot that was loaded."""
        self.note(n_records, self._commits.bytes_after(self._seq), forgets=self._forgets_wait())

    def is_due(self, seq: int) -> bool:
        """Whether to start one of commit `seq` now."""
        if self._writing is not None:
            return False
        now_s = self._clock.monotonic_s()
        age_s = now_s - self._started_s
        if now_s - self._looked_s >= _LOOK_S:
            self._looked_s = now_s
            self._gone = self._seq > 0 and not self._store.has(self._seq)
            if self._gone:
                _log.error("the snapshot of commit %d was deleted; the next is written now", self._seq)
        return (
            self._gone
            or (self._wanted and age_s >= self._settings.forget_s)
            or (self._records > 0 and age_s >= self._settings.snapshot_s)
            or self._bytes >= self._settings.snapshot_mb << 20
            or seq - self._seq >= _MAX_COMMITS
        )

    def is_behind(self, seq: int) -> bool:
        """Whether commit `seq` or a forget is in no snapshot."""
        return seq > self._seq or self._wanted

    def is_written(self) -> bool:
        """Whether one was started and can be ended without waiting."""
        return self._writing is not None and self._writing.written.done()

    def start(self, frame: Mapping[str, Any]) -> None:
        """Write a frame with ``seq`` and ``positions`` in a thread; one that is being written ends first."""
        self.end()
        # The file outlives a power failure, so the commits that it stands on must too.
        self._commits.sync()
        writing = self._pool.submit(self._store.write, frame)
        self._writing = _Writing(frame["seq"], dict(frame["positions"]), writing)
        self._started_s = self._clock.monotonic_s()
        self._records = self._bytes = 0
        self._wanted = self._gone = False

    def end(self, n_kept: int = 2) -> None:
        """Wait for the snapshot being written, keep `n_kept`, and let go of what they make needless.

        Raises:
            SnapshotError: it was not written; the older ones are untouched and it is due again.
        """
        if self._writing is None:
            return
        (seq, positions, written), self._writing = self._writing, None
        try:
            written.result()
        except SnapshotError:
            self.note(1, 0, forgets=self._forgets_wait())
            raise
        waiting = [entry for entry in self._scrubs.waiting() if entry.seq <= seq] if self._scrubs else []
        n_kept = 1 if waiting else n_kept
        files = [found for found, _ in self._store.found()][:n_kept]
        self._kept = {found: self._kept[found] for found in files if found in self._kept}
        self._kept[seq] = positions
        # Noted before the older file goes: whatever a note lets others drop is held by a file.
        now_ms = math.floor(self._clock.now_ms())
        self._commits.keep_snapshots(self._kept, at=now_ms)
        self._commits.dead_letters().expire(now_ms - round(self._settings.letter_days * _DAY_MS))
        self._store.keep(n_kept)
        self._seq = seq
        if self._scrubs and waiting:
            self._scrubs.begin(seq, positions)

    def _forgets_wait(self) -> bool:
        return bool(self._scrubs and self._scrubs.waiting())
