"""Group commit: what all requests of a worker want logged goes to its file in few transactions.

The loop collects; one thread commits. While a commit is under way the next group gathers, so under load
groups grow by themselves and a synced commit serves every request that waited for it. A group with events is
synced before anyone hears of it; one with decisions only is not: these need only survive a killed process.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from math import ceil

from serving.errors import BusyError, UnavailableError
from stream.clock import Clock
from stream.errors import FreshetError
from stream.log import EventLog, Record

__all__ = ["GroupWriter"]

_Entry = tuple[Record, bool, "asyncio.Future[int]"]
_Job = Callable[[], None]

_MAX_JOBS = 256
_LOOK_S = 1.0
_log = logging.getLogger(__name__)


class GroupWriter:
    """The one writer of a worker's log. `submit`, `start` and `stop` are called from the event loop.

    Bounds: at most `max_bytes` and `max_requests` handed in and not yet committed.

    Args:
        log: where records go; only this object appends to it.
        clock: gives `accepted_at`, read after the commit.
        nudge: called on the writer's thread after each commit with the last position: the learner may look.
        lost: which file was deleted underneath, empty when none was; then nothing is taken.
        linger_ms: how long the first decision of a group waits for company; events do not wait.
    """

    def __init__(
        self,
        log: EventLog,
        clock: Clock,
        nudge: Callable[[int], None],
        *,
        linger_ms: float = 0.5,
        max_bytes: int = 64 << 20,
        max_requests: int = 10_000,
        lost: Callable[[], str] = lambda: "",
    ) -> None:
        self._log, self._clock, self._nudge, self._lost = log, clock, nudge, lost
        self._linger_s = linger_ms / 1e3
        self._max_bytes, self._max_requests = max_bytes, max_requests
        self._waiting: list[_Entry] = []
        self._groups: queue.SimpleQueue[list[_Entry] | _Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="writer", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._busy = self._scheduled = self._stopping = False
        self._last_accepted_at = 0
        self.queued_bytes = 0
        self.queued_requests = 0
        self._failed = ""
        self._failed_bytes = 0
        self._said = ""
        self.commits = 0
        self.failures = 0
        self.dropped_jobs = 0

    def start(self) -> None:
        """Start the writer's thread for the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def submit(self, record: Record, *, durable: bool) -> asyncio.Future[int]:
        """Log `record` with the next group; the future gives `accepted_at` (wall ms) once it is committed.

        Raises:
            BusyError: a bound is reached; nothing was taken.
            UnavailableError: the worker is stopping, or its files were deleted underneath.
        """
        if self._loop is None or self._stopping:
            msg = (
                "worker: it is stopping and takes nothing more; send this again, another worker will take it"
            )
            raise UnavailableError(msg)
        if lost := self._lost():
            raise UnavailableError(lost)
        if (
            self.queued_bytes + len(record.body) > self._max_bytes
            or self.queued_requests >= self._max_requests
        ):
            msg = (
                f"worker: {self.queued_requests} requests, {self.queued_bytes} bytes, wait for their commit; "
                f"the bounds are {self._max_requests} and {self._max_bytes}; send more slowly"
            )
            raise BusyError(msg)
        future: asyncio.Future[int] = self._loop.create_future()
        self._waiting.append((record, durable, future))
        self.queued_bytes += len(record.body)
        self.queued_requests += 1
        if not self._busy and not self._scheduled:
            self._scheduled = True
            # An event's commit is synced and slow enough to gather its own followers.
            self._loop.call_later(0.0 if durable else self._linger_s, self._flush)
        return future

    def why_not_ready(self) -> str:
        """That files were deleted underneath, or that a group failed and there is still no room for it."""
        return self._lost() or (self._failed and f"the last commit failed: {self._failed}")

    def between(self, job: _Job) -> None:
        """Run `job` on the writer's thread between two commits, for instance to store dead letters.

        At most 256 jobs wait; one more is dropped and counted. What a job raises of ours is logged.
        """
        if self._stopping or self._groups.qsize() >= _MAX_JOBS:
            self.dropped_jobs += 1
            return
        self._groups.put(job)

    def _failed_group(self, words: str, size: int) -> None:
        """Look every second whether such a group would have room now: nobody may send one meanwhile."""
        began = not self._failed
        self._failed_bytes = min(size, self._failed_bytes) if self._failed else size
        self._failed = words
        if began:
            self._look_again()

    def _look_again(self) -> None:
        if self._failed and self._loop is not None and not self._stopping:
            self.between(self._look)
            self._loop.call_later(_LOOK_S, self._look_again)

    def _look(self) -> None:
        """On the writer's thread."""
        words = ""
        try:
            self._log.require_room(self._failed_bytes)
        except FreshetError as error:
            words = str(error)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._looked, words)

    def _looked(self, words: str) -> None:
        self._failed = words

    async def stop(self) -> None:
        """Commit what was handed in, then end the thread; later calls of `submit` are refused."""
        self._stopping = True
        self._flush()
        while self.queued_requests:
            await asyncio.sleep(self._linger_s)
        self._groups.put(None)
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)

    def _flush(self) -> None:
        self._scheduled = False
        if self._busy or not self._waiting:
            return
        group, self._waiting = self._waiting, []
        self._busy = True
        self._groups.put(group)

    def _work(self) -> None:
        while (work := self._groups.get()) is not None:
            if not isinstance(work, list):
                self._do(work)
                continue
            outcome: int | FreshetError
            try:
                outcome = self._commit(work)
            except FreshetError as error:
                outcome = error
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._done, work, outcome)

    def _do(self, job: _Job) -> None:
        try:
            job()
        except FreshetError as error:
            # Twenty jobs a second may fail on a full disk, all with the same words.
            if self._said != (said := str(error)):
                _log.warning("%s", error)
            self._said = said

    def _commit(self, group: Sequence[_Entry]) -> int:
        now = int(self._clock.now_ms())
        durable = any(wanted for _, wanted, _ in group)
        records = [record._replace(accepted_at=now) for record, _, _ in group]
        positions = self._log.append(records, durable=durable)
        # Read after the commit, so that whoever reads the log later than this time finds the records there.
        accepted_at = max(self._last_accepted_at, ceil(self._clock.now_ms()))
        self._last_accepted_at = accepted_at
        self._nudge(positions[-1])
        return accepted_at

    def _done(self, group: Sequence[_Entry], outcome: int | FreshetError) -> None:
        self._busy = False
        self.commits += 1
        size = sum(len(record.body) for record, _, _ in group)
        for record, _, future in group:
            self.queued_bytes -= len(record.body)
            self.queued_requests -= 1
            if future.done():
                continue
            if isinstance(outcome, int):
                future.set_result(outcome)
            else:
                future.set_exception(outcome)
        if not isinstance(outcome, int):
            self.failures += 1
            self._failed_group(str(outcome), size)
        elif size >= self._failed_bytes:
            # A decision may still find its place where events do not.
            self._failed = ""
        self._flush()
