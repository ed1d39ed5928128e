"""The embedded engine: reads the workers' logs, drives the step, commits, keeps snapshots."""

from __future__ import annotations

import gc
import logging
import math
from collections.abc import Callable, Mapping

from stream.clock import Clock
from stream.commits import CommitLog, Span, TickMark
from stream.engine.driver import ClockMode, Driver
from stream.engine.keeper import SnapshotKeeper
from stream.engine.merge import merge_reads, spans
from stream.engine.nudge import Notifier, NudgeSocket, NullNotifier
from stream.engine.settings import EngineSettings
from stream.engine.snapshots import SnapshotStore
from stream.errors import LogError, SnapshotError
from stream.frame import Frame, pack_parts
from stream.log import EventReader
from stream.scrub import LearnerScrub
from stream.step import Patient, Step

__all__ = ["LocalEngine"]

_log = logging.getLogger(__name__)


class LocalEngine:
    """Drives one step from several logs, one commit at a time: outputs, changed rows and positions together.

    A batch is what lies behind the committed positions, bounded by the settings, in the order of
    `merge_reads`. Nothing outside a commit is ever published. After `recover`, the step is bit for bit where
    the last commit left it: the newest good snapshot, and the committed merge order run again.

    `absorbed_at`: the wall time is noted before reading begins; once everything read to the ends is
    committed, all that any worker had accepted (202 sent) by then is learned. While a backlog remains it is
    the time before the oldest record that may be unread. It never falls.

    Args:
        step: what to drive; fresh.
        sources: logs by name; their names stand in the committed order and must stay the same.
        commits: the learner's file.
        snapshots: where snapshots are kept.
        clock: wall and monotonic time.
        mode: which clock ticks are made from, see `stream.engine.driver`.
        fingerprint: names the settings that the state depends on. When it differs from the snapshot's,
            replicas are told to start from a new snapshot.
        notifier: told of every commit, and when idle every `idle_ms`, sooner after something was learned.
        nudges: woken by the workers; without it an idle engine waits on the clock.
        scrubs: takes forgotten users out of the files; without it forgets only reach the step.

    Example:
        See `tests/stream/test_engine.py`.
    """

    def __init__(
        self,
        step: Step,
        sources: Mapping[str, EventReader],
        commits: CommitLog,
        snapshots: SnapshotStore,
        *,
        clock: Clock,
        mode: ClockMode = "wall",
        settings: EngineSettings | None = None,
        fingerprint: str = "",
        notifier: Notifier | None = None,
        nudges: NudgeSocket | None = None,
        scrubs: LearnerScrub | None = None,
    ) -> None:
        self._step = step
        self._patient = step if isinstance(step, Patient) else None
        self._sources = dict(sources)
        self._commits = commits
        self._clock = clock
        self._settings = settings or EngineSettings()
        self._mode: ClockMode = mode
        self._driver = Driver(step, mode, self._settings.tick_ms)
        self._fingerprint = fingerprint
        self._notifier = notifier or NullNotifier()
        self._nudges = nudges
        self._keeper = SnapshotKeeper(snapshots, commits, clock, self._settings, scrubs)
        self._scrubs = scrubs
        self._positions: dict[str, int] = {}
        self._seq = 0
        self._absorbed_at = 0
        self._n_idle = 0
        self.problems: list[str] = []
        """What recovery found wrong and worked around, in words; also logged as warnings."""

    @property
    def seq(self) -> int:
        """Sequence number of the last commit."""
        return self._seq

    @property
    def absorbed_at(self) -> int:
        """Everything accepted up to this wall time (ms) is committed."""
        return self._absorbed_at

    @property
    def watermark(self) -> int:
        """Time of the last live tick (ms), 0 before the first."""
        return self._driver.watermark

    @property
    def positions(self) -> dict[str, int]:
        """Committed position of each source."""
        return dict(self._positions)

    def rewind(self, now_ms: int) -> None:
        """Time was wrong and is `now_ms`; the step has been told. A snapshot makes it last.

        Raises:
            SnapshotError: it was not written.
        """
        self._driver.rewind(now_ms)
        self._absorbed_at = min(self._absorbed_at, now_ms)
        self._leap()

    def recover(self) -> int:
        """Bring the step to the last commit; returns the number of records that were run again.

        Raises:
            LogError: a source or a commit that is needed is missing.
            SnapshotError: there are snapshots and none can be read.
        """
        frame, problems = self._keeper.load()
        for problem in problems:
            self._say(f"{problem}; went back to the snapshot before it")
        leap = frame is not None and frame["fingerprint"] != self._fingerprint
        if frame is not None:
            self._restore(frame)
        expected, n_records, n_lost = self._seq, 0, 0
        while order := self._commits.merge_order(self._seq):
            for seq, merge in order:
                expected += 1
                self._check_order(seq, expected)
                again, lost = self._run_again(merge)
                n_records, n_lost = n_records + again, n_lost + lost
                self._seq = seq
        self._absorbed_at = max(self._absorbed_at, self._commits.absorbed()[0])
        self._keeper.recovered(n_records)
        if n_lost:
            self._say(f"{n_lost} records were lost: not synced when the power went, or changed on the disk")
        if leap or n_lost:
            self._leap()
        elif self._scrubs and self._scrubs.waiting():
            self.snapshot()
        return n_records

    def _restore(self, frame: Frame) -> None:
        self._step.restore(frame["step"])
        self._driver.restore(frame["tickers"])
        self._seq = frame["seq"]
        self._positions = dict(frame["positions"])
        self._absorbed_at = frame["absorbed_at"]

    def _check_order(self, seq: int, expected: int) -> None:
        if seq != expected:
            msg = (
                f"commit {expected} is missing, the next is {seq}, and no snapshot covers it; "
                "restore the snapshots folder together with learner.db"
            )
            raise LogError(msg)

    def _run_again(self, merge: list[Span | TickMark]) -> tuple[int, int]:
        """Feed one committed batch; returns the records fed and those that are no longer in their log."""
        fed = lost = 0
        for entry in merge:
            if isinstance(entry, TickMark):
                self._driver.wall_tick(entry.ts)
                continue
            after, count = entry.after, 0
            while after < entry.last and (records := self._source(entry.source).read(after, entry.count)):
                taken = [record for record in records if record.pos <= entry.last]
                for record in taken:
                    self._driver.feed(entry.source, record)
                    count += not record.damaged
                after = taken[-1].pos if len(taken) == len(records) else entry.last
            self._positions[entry.source] = entry.last
            fed, lost = fed + count, lost + entry.count - count
        self._finish_batch()
        return fed, lost

    def _source(self, name: str) -> EventReader:
        if name not in self._sources:
            msg = (
                f"{name} is part of the committed order and is not among the sources {sorted(self._sources)}"
            )
            raise LogError(msg)
        return self._sources[name]

    def _leap(self) -> None:
        # The state is not the one whose deltas were published: a hole in the numbers sends replicas to the
        # new snapshot, and nothing older may stay that would lead elsewhere.
        self._seq += 2
        self.snapshot(n_kept=1)

    def _finish_batch(self) -> Frame:
        self._driver.flush()
        self._driver.letters.clear()
        self._driver.forgets.clear()
        return self._step.take()

    def run_once(self) -> int:
        """Read, learn and commit one batch; returns the number of records taken."""
        now = math.floor(self._clock.now_ms())
        limit, max_bytes = self._settings.batch_records, self._settings.batch_bytes
        reads = {
            name: source.read(self._positions.get(name, 0), limit, max_bytes)
            for name, source in self._sources.items()
        }
        unfinished = {
            name: len(read) >= limit or sum(len(record.body) for record in read) >= max_bytes
            for name, read in reads.items()
        }
        order, bound = merge_reads(reads, unfinished)
        for name, record in order:
            self._driver.feed(name, record)
        merge: list[Span | TickMark] = list(spans(order, self._positions))
        ts = self._driver.wall_tick(now) if bound is None else None
        if ts is not None:
            merge.append(TickMark(ts))
        absorbed_at = max(self._absorbed_at, now if bound is None else min(now, bound - 1))
        if merge:
            self._commit(merge, absorbed_at, len(order))
        else:
            self._absorbed_at = absorbed_at
        return len(order)

    def _commit(self, merge: list[Span | TickMark], absorbed_at: int, n_records: int) -> None:
        letters, forgets = list(self._driver.letters), list(self._driver.forgets)
        for letter in letters:
            _log.warning("%s: %s", letter.place, letter.reason)
        frame = list(pack_parts(self._finish_batch()))
        hashed = [(self._scrubs.hash(user), ts) for user, ts in forgets] if self._scrubs else []
        self._commits.commit(
            self._seq + 1,
            merge,
            frame,
            absorbed_at=absorbed_at,
            watermark=self._driver.watermark,
            letters=letters,
            forgets=hashed,
        )
        self._seq += 1
        self._absorbed_at = absorbed_at
        for entry in merge:
            if isinstance(entry, Span):
                self._positions[entry.source] = entry.last
        self._keeper.note(n_records, sum(map(len, frame)), forgets=bool(hashed))
        self._notifier.notify(self._seq, absorbed_at)

    def snapshot(self, *, n_kept: int = 2) -> None:
        """Write a snapshot of the last commit now, see `SnapshotKeeper`.

        Raises:
            SnapshotError: it was not written; the older ones are untouched.
        """
        self._keeper.start(self._state())
        self._keeper.end(n_kept)

    def _state(self) -> Frame:
        return {
            "seq": self._seq,
            "positions": dict(self._positions),
            "absorbed_at": self._absorbed_at,
            "fingerprint": self._fingerprint,
            "tickers": self._driver.snapshot(),
            "step": self._step.snapshot(),
        }

    def _look_after_snapshots(self) -> None:
        """Start one when it is due, end one that is written; a failed one is said and tried again."""
        if self._keeper.is_written():
            try:
                self._keeper.end()
            except SnapshotError as error:
                self._say(str(error))
        elif self._keeper.is_due(self._seq):
            self._keeper.start(self._state())
            gc.collect()
            gc.freeze()

    def run(self, stop: Callable[[], bool]) -> None:
        """Learn until `stop()` says so, then take what is left and a snapshot; `recover` comes first.

        Cyclic garbage collection is off while this runs: its pauses grow with the state, and the learning
        path makes no cycles. With each snapshot the little that others left is collected and the survivors
        are frozen out of later passes.

        Raises:
            LogError, SnapshotError: nothing that was committed is lost; start again after mending the cause.
        """
        gc.disable()
        try:
            while not stop():
                taken = self.run_once()
                self._look_after_snapshots()
                if self._scrubs and self._scrubs.advance():
                    self._notifier.notify(self._seq, self._absorbed_at)
                elif taken:
                    self._n_idle = 0
                elif not self._work():
                    self._wait()
            self.finish()
        finally:
            gc.unfreeze()
            gc.enable()

    def _work(self) -> bool:
        """Do what may wait while nothing else is to be done, a little at a time; whether there is more."""
        if self._patient is None or not self._patient.waits:
            return False
        self._notifier.notify(self._seq, self._absorbed_at)
        self._patient.work()
        return True

    def _wait(self) -> None:
        """Say how far everything is absorbed, and wait for a nudge.

        The first waits after something was learned are of 1, 2, 4, … ms: an `accepted_at` is rounded up and
        the time noted before reading is rounded down, so only a look a millisecond later can vouch for it.
        """
        self._notifier.notify(self._seq, self._absorbed_at)
        timeout_s = min(self._settings.idle_ms, 1 << self._n_idle) / 1e3
        self._n_idle = min(self._n_idle + 1, 16)
        if self._nudges is None:
            self._clock.sleep_s(timeout_s)
        else:
            self._nudges.wait(timeout_s)

    def finish(self) -> None:
        """Take what is left in the logs, and a snapshot if anything changed since; for a clean stop."""
        while self.run_once():
            continue
        try:
            self._keeper.end()
            if self._keeper.is_behind(self._seq):
                self.snapshot()
        except SnapshotError as error:
            self._say(f"{error}; the next start runs the log again from there")
        while self._scrubs and self._scrubs.advance():
            continue

    def _say(self, problem: str) -> None:
        self.problems.append(problem)
        _log.warning(problem)
