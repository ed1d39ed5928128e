"""A worker's copy of everything learned: the newest snapshot, then every commit's changes, in order.

Rows are applied on the event loop's thread, between requests, so an answer never sees half a commit; a long
backlog is taken in slices with requests in between. A thread waits for the learner, reads and decodes: the
file is read without the interpreter's lock, and the loop is left with copying rows.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol, cast

from learners import Part
from learning.rows.marks import Marks
from learning.unclaimed import Unclaimed
from stream.clock import Clock
from stream.commits import BehindError, Delta
from stream.engine import Nudge
from stream.errors import FreshetError, LogError, PartError
from stream.frame import Frame, unpack
from stream.step import Replicated

__all__ = ["DeltaReader", "Nudges", "Replica", "SnapshotReader"]

_log = logging.getLogger(__name__)

_READ_DELTAS = 32
_READ_BYTES = 4 << 20
_POLL_S = 0.25
_MAX_UNAPPLIED = 64
_MOST_AHEAD_MS = 5_000


class DeltaReader(Protocol):
    """Where commits come from; `stream.commits.CommitReader` is one."""

    def last_seq(self) -> int:
        """Sequence number of the last commit."""

    def read_deltas(self, after_seq: int, limit: int = ..., max_bytes: int = ...) -> list[Delta]:
        """Commits behind `after_seq`, without a hole; `BehindError` when they are no longer kept."""


class SnapshotReader(Protocol):
    """Where snapshots come from; `stream.engine.SnapshotStore` is one."""

    def load(self) -> tuple[Frame | None, list[str]]:
        """The newest good one, and what was wrong with newer ones."""


class Nudges(Protocol):
    """Where the learner's nudges arrive; `stream.engine.NudgeSocket` is one."""

    def wait(self, timeout_s: float) -> Nudge | None:
        """Block until something arrives or the time has passed; the last of what has arrived."""


class Replica:
    """Follows the learner's commits.

    Args:
        components: by the name under which their changes stand in a frame. A commit is applied in this order.
        reader: commits; `snapshots`: where to begin.
        clock: for lag, and the length of a slice.
        on_restored: called with the step's snapshot once it was taken over; `on_applied` with the frame of
            each later commit.
        partition_of: the partition of a user, see `learning.rows.marks.Marks`.
        slice_ms: longest stretch of applying before requests get their turn.
    """

    def __init__(
        self,
        components: Mapping[str, Replicated],
        *,
        reader: DeltaReader,
        snapshots: SnapshotReader,
        clock: Clock,
        on_restored: Callable[[Frame], None] = lambda _: None,
        on_applied: Callable[[Frame], None] = lambda _: None,
        partition_of: Callable[[str], int] = lambda _: 0,
        slice_ms: float = 3.0,
    ) -> None:
        self.components = dict(components)
        self._reader, self._snapshots, self._clock = reader, snapshots, clock
        self._on_restored, self._on_applied = on_restored, on_applied
        self._slice_s = slice_ms / 1e3
        self._loop: asyncio.AbstractEventLoop | None = None
        self._nudges: Nudges | None = None
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._room = threading.Semaphore(_MAX_UNAPPLIED)
        self._unapplied: deque[tuple[Delta, Frame]] = deque()
        self._partition_of = partition_of
        self._waiting: dict[int, list[tuple[int, int, asyncio.Future[None]]]] = {}
        self._tickets = 0
        self._announced = Nudge(0, 0)
        self.seq = 0
        self.marks = Marks()
        self.watermark = 0
        self.applied = 0
        self.applied_bytes = 0
        self.restored = 0

    # --- starting ---

    def bootstrap(self) -> None:
        """Load the newest snapshot, if there is one, and every commit behind it.

        Raises:
            SnapshotError: there are snapshots and none can be read.
            LogError: the commits cannot be read.
        """
        self._restore()
        while self.poll():
            pass

    def _restore(self) -> None:
        frame, problems = self._snapshots.load()
        for problem in problems:
            _log.warning("%s; using the snapshot before it", problem)
        if frame is None:
            return
        step, kept = frame["step"], Unclaimed()
        kept.tells = False  # the learner says what it keeps and what starts afresh
        kept.restore(step, self.components, ())
        for name, component in self.components.items():
            if name in step:
                component.restore(step[name])
            else:
                kept.give_back(name, cast(Part, component))  # as the learner does
        self.seq, self.watermark = frame["seq"], frame["tickers"]["live"]
        self.restored += 1
        self._on_restored(step)
        self._advance(Marks.read(step, frame["absorbed_at"]))

    def follow(self, nudges: Nudges) -> None:
        """Apply commits as they are announced, on the running loop, until `stop`."""
        self._loop = asyncio.get_running_loop()
        self._nudges = nudges
        self._thread = threading.Thread(target=self._follow, name="replica", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Follow no longer."""
        self._stopping.set()
        self._room.release()
        if self._thread is not None:
            self._thread.join()

    async def settle(self) -> None:
        """After `stop`: apply what had been read."""
        # What the thread handed over last is scheduled and not run yet.
        await asyncio.sleep(0)
        while self._unapplied:
            await asyncio.sleep(0)

    # --- reading, on a thread of its own ---

    def _follow(self) -> None:
        seq = self.seq
        while not self._stopping.is_set() and self._nudges is not None and self._loop is not None:
            try:
                deltas = self._reader.read_deltas(seq, _READ_DELTAS, _READ_BYTES)
            except BehindError:
                seq = self._restored_seq()
                continue
            except LogError as error:
                _log.warning("%s; trying again", error)
                deltas = []
            for delta in deltas:
                frame = unpack(delta.frame)
                self._room.acquire()
                if self._stopping.is_set():
                    return
                self._loop.call_soon_threadsafe(self._queue, delta, frame)
                seq = delta.seq
            if len(deltas) < _READ_DELTAS:
                self._listen()

    def _listen(self) -> None:
        """Wait for the learner; a lost nudge costs no more than the timeout."""
        nudge = self._nudges.wait(_POLL_S) if self._nudges is not None else None
        if nudge is not None and self._loop is not None and not self._stopping.is_set():
            self._loop.call_soon_threadsafe(self._announce, nudge)

    def _restored_seq(self) -> int:
        """Let the loop take over the newest snapshot; where that leads."""
        done = threading.Event()

        def restore() -> None:
            try:
                self._restore()
            finally:
                done.set()

        if self._loop is not None:
            self._loop.call_soon_threadsafe(restore)
        while not done.wait(_POLL_S) and not self._stopping.is_set():
            continue
        return self.seq

    # --- applying, on the loop ---

    def _queue(self, delta: Delta, frame: Frame) -> None:
        self._unapplied.append((delta, frame))
        if len(self._unapplied) == 1:
            self._turn()

    def _turn(self) -> None:
        """Apply for at most a slice, then let requests have their turn."""
        began_s = self._clock.monotonic_s()
        while self._unapplied:
            delta, frame = self._unapplied[0]
            if delta.seq == self.seq + 1:
                self._apply(delta, frame)
            self._unapplied.popleft()
            self._room.release()
            if self._clock.monotonic_s() - began_s > self._slice_s and self._unapplied:
                asyncio.get_running_loop().call_soon(self._turn)
                return
        self._announce(self._announced)

    def _announce(self, nudge: Nudge) -> None:
        self._announced = max(self._announced, nudge)
        if self._announced.seq <= self.seq:
            self._advance(Marks.all_at(self._announced.absorbed_at))

    def poll(self) -> bool:
        """Read and apply one stretch here and now, before the loop runs; whether there may be more."""
        try:
            deltas = self._reader.read_deltas(self.seq, _READ_DELTAS, _READ_BYTES)
        except BehindError:
            self._restore()
            return self._reader.last_seq() > self.seq
        for delta in deltas:
            self._apply(delta, unpack(delta.frame))
        return len(deltas) == _READ_DELTAS

    def _apply(self, delta: Delta, frame: Frame) -> None:
        for name, component in self.components.items():
            changes = frame.get(name)
            if changes:
                try:
                    component.apply(changes)
                except (FreshetError, MemoryError):
                    raise
                except Exception as error:
                    msg = f"part {name!r} raised while it followed commit {delta.seq}: {error!r}"
                    raise PartError(msg) from error
        self.seq, self.watermark = delta.seq, delta.watermark
        self.applied += 1
        self.applied_bytes += len(delta.frame)
        self._on_applied(frame)
        self._advance(Marks.read(frame, delta.absorbed_at))

    def _advance(self, marks: Marks) -> None:
        self.marks = self.marks.later(marks, self._clock.now_ms() + _MOST_AHEAD_MS)
        for partition, waiting in self._waiting.items():
            mark = self._users_mark(partition)
            while waiting and waiting[0][0] <= mark:
                future = heapq.heappop(waiting)[2]
                if not future.done():
                    future.set_result(None)

    # --- asking ---

    @property
    def absorbed_at(self) -> int:
        """Everything accepted up to then (wall ms) is in the rows of all users."""
        return self.marks.absorbed_at

    def absorbed_for(self, user_id: str) -> int:
        """Everything accepted up to then (wall ms) is in the rows of this user, known or not."""
        return self._users_mark(self._partition_of(user_id))

    def _users_mark(self, partition: int) -> int:
        users = self.marks.users
        return users[partition] if partition < len(users) else 0

    async def wait_absorbed(self, user_id: str, after: int, timeout_s: float) -> bool:
        """Wait until everything accepted up to `after` is in this user's rows; false if that takes longer."""
        partition = self._partition_of(user_id)
        if after <= self._users_mark(partition):
            return True
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tickets += 1
        heapq.heappush(self._waiting.setdefault(partition, []), (after, self._tickets, future))
        try:
            await asyncio.wait_for(future, timeout_s)
        except TimeoutError:
            self._waiting[partition] = [entry for entry in self._waiting[partition] if entry[2] is not future]
            heapq.heapify(self._waiting[partition])
            return after <= self._users_mark(partition)
        return True

    def lagging(self, most_ms: int) -> dict[str, int]:
        """The kinds of rows besides users' that are more than `most_ms` old, with their age in ms.

        None as long as nobody has been heard of: then readiness says so.
        """
        if not any(self.marks.users):
            return {}
        return self.marks.lagging(self._clock.now_ms(), most_ms)

    @property
    def lag_ms(self) -> int:
        """How far what is served of users lies behind the wall clock."""
        return self.lag_of(self.absorbed_at)

    def lag_of(self, mark: int) -> int:
        """How far a mark lies behind the wall clock, in ms."""
        return max(0, int(self._clock.now_ms()) - mark)

    def why_not_ready(self, most_lag_ms: int | None) -> str:
        """What is missing to be caught up; empty when nothing is. None: however old what is served is."""
        if self._thread is not None and not self._thread.is_alive() and not self._stopping.is_set():
            return "rows are followed no longer, which is unexpected: the log says why; restart this worker"
        if (ahead_ms := self.absorbed_at - self._clock.now_ms()) > _MOST_AHEAD_MS:
            return (
                f"what is absorbed is {ahead_ms / 1e3:.0f} s ahead of the clock, which was or is wrong; see "
                "`freshet doctor --data DIR`, on Kafka `freshet topics repair-clock --dry-run`"
            )
        if self.absorbed_at == 0:
            return "the learner has not been heard of yet; is its process running?"
        if self._announced.seq > self.seq:
            return f"commit {self.seq} is applied, {self._announced.seq} is the last; catching up"
        if most_lag_ms is not None and self.lag_ms > most_lag_ms:
            return (
                f"what is served is {self.lag_ms} ms old, at most {most_lag_ms} are allowed; "
                "the learner is behind or away"
            )
        return ""
