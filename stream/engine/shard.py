"""One owned partition of a source, exactly once: a machine over a store, without a broker in sight.

Whoever delivers (Faust, a test) may drop records, repeat them and die at any point. What is learned does not
depend on it, because nothing but the partition's own committed position decides:

* a record below the position was learned and is skipped;
* a record above it shows a hole, which is read from the store and learned first, in order, unless whoever
  fetched it knows the hole to be empty. Nothing found there means transaction markers or compaction, and is
  fine;
* after a while without delivery the end of the source is looked at, or a hole at its tail would stay; what
  stood there at the look before, and has still not come, is read from the store;
* outputs and the next position are committed together, or not at all. Outputs gather for a moment first:
  a step that writes rows writes each once, however often it changed meanwhile.

The state of the step is not part of a commit: it is the newest snapshot, taken at some position S, and the
records from S to the committed position run again without emitting. A step is deterministic and does not
care how its input was cut into batches, so that is the state, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, NamedTuple, Protocol, runtime_checkable

from stream.clock import Clock
from stream.engine.backlog import Backlog, ShardGate
from stream.engine.worker_settings import ShardSettings
from stream.errors import FreshetError, LogError, SnapshotError
from stream.frame import Frame
from stream.step import Stateful

__all__ = [
    "CountingStep",
    "Headers",
    "Output",
    "Recovered",
    "Shard",
    "ShardFigures",
    "ShardStep",
    "ShardStore",
    "SourceRecord",
    "outputs_of",
]

_PATIENCE = 5
# Where commits take long, the machine is busy: the longer outputs gather, the fewer rows are written.
_LONGER, _LONGEST_S = 1.0, 0.5
# What waits is learned for so long at once; deliveries and looks come in between.
_TURN_S = 0.2

Headers = tuple[tuple[str, bytes], ...]


class SourceRecord(NamedTuple):
    """One record of the source partition; `at` is the time in ms that the log gave it.

    Nothing to learn lies in the offsets from `since` up to its own, if whoever read it knows: ends of
    transactions, aborted records, what compaction left.
    """

    offset: int
    value: bytes
    key: bytes | None = None
    at: int = 0
    headers: Headers = ()
    since: int | None = None


class Output(NamedTuple):
    """One record to write: `topic` without the installation's prefix; a value of None deletes the key."""

    topic: str
    partition: int
    value: bytes | None
    key: bytes | None = None
    headers: Headers = ()


def outputs_of(topic: str, partition: int, keys: Iterable[str], values: Iterable[bytes]) -> list[Output]:
    """Many records without headers for one partition.

    Example:
        >>> outputs_of("policy", 3, ["tea"], [b"row"])
        [Output(topic='policy', partition=3, value=b'row', key=b'tea', headers=())]
    """
    fields = zip(repeat(topic), repeat(partition), values, map(str.encode, keys), repeat(()), strict=False)
    # `Output(...)` runs in Python, three times as long: workers write tens of thousands in a second.
    make: Any = tuple.__new__
    return list(map(make, repeat(Output), fields))


class Recovered(NamedTuple):
    """What a store knows: the newest whole snapshot and its position, and the last committed position."""

    frame: Frame | None
    taken_at: int
    position: int


@runtime_checkable
class CountingStep(Protocol):
    """A step that counts outcomes, as part of its state."""

    @property
    def counters(self) -> Mapping[str, int]:
        """Counts by name, which only grow."""


class ShardStep(Stateful, Protocol):
    """A step over one partition: records in, outputs out. No I/O, no clock, no thread.

    The same records in one batch or in a thousand give the same state and, over all, the same outcomes.
    """

    def on_records(self, records: Sequence[SourceRecord]) -> None:
        """Take records in the order of their offsets.

        Raises:
            LogError: a newer program wrote one of them. Whatever else cannot be read is an output.
        """

    def take(self) -> list[Output]:
        """What came out since the last call, in order."""


class ShardStore(Protocol):
    """Where one partition's source, outputs, position and snapshots are; one owner at a time."""

    async def recover(self) -> Recovered:
        """Become the owner, fencing whoever was it before, and say where that one had come to."""

    def read(self, start: int, stop: int) -> AsyncIterator[Sequence[SourceRecord]]:
        """The records of the source from offset `start` up to and without `stop`, in bounded batches.

        Raises:
            LogError: the source no longer has them.
        """

    async def end(self) -> int:
        """The offset that the next readable record of the source will have at least."""

    async def commit(self, outputs: Sequence[Output], position: int) -> None:
        """Write the outputs and the position, together or not at all.

        Raises:
            FencedError: another owner has taken over; nothing was written.
        """

    async def save(self, frame: Frame, position: int) -> None:
        """Keep a snapshot of the state at `position`, which is committed with it; older ones may go."""

    async def close(self) -> None:
        """Let go; whatever was not committed never happened."""


@dataclass(slots=True)
class ShardFigures:
    """What happened since the shard was opened, for metrics and log lines."""

    records: int = 0
    """Records learned, those of holes included."""
    run_again: int = 0
    """Records run again at the take-over, without emitting."""
    repeated: int = 0
    """Records delivered that were learned before."""
    holes: int = 0
    """Times that records were found which had not been delivered, in the middle or at the tail."""
    filled: int = 0
    """The records found in them."""
    commits: int = 0
    snapshots: int = 0
    inherited: Mapping[str, int] = field(default_factory=dict)
    """What a step that counts outcomes had counted at the take-over: this worker has none of it to tell."""
    takeover_ms: float = 0.0
    """How long the take-over took: fencing, the snapshot, and what was run again."""


class Shard:
    """Drives one step through one partition; see the module for how.

    Calls must not overlap; the engine sees to that. After an exception the shard is of no use: what it did
    not commit is taken up by the next owner, which may be a new shard on the same store.

    Args:
        step: fresh.
        store: the partition.
        clock: for the times between commits, snapshots and looks at the tail.
        settings: those times.
        before: waited for at a take-over, once the owner before is fenced.
        gate: lets records through. What it holds back waits, and is tried again by `keep_pace`; what is run
            again at a take-over is not held.

    Example:
        >>> import asyncio
        >>> from stream.clock import ManualClock
        >>> from stream.engine.shard_memory import MemoryPartition, MemoryShardStore
        >>> from stream.testing_shard import FoldingStep
        >>> partition = MemoryPartition()
        >>> records = [partition.append(b"one"), partition.append(b"two"), partition.append(b"three")]
        >>> async def play() -> None:
        ...     settings = ShardSettings(gather_s=0)
        ...     shard = Shard(FoldingStep(), MemoryShardStore(partition), ManualClock(), settings)
        ...     await shard.open()
        ...     await shard.deliver(records[:1] + records[2:])  # the second is never delivered
        ...     print(shard.position, shard.figures.holes, [output.key for output in partition.outputs])
        >>> asyncio.run(play())
        3 1 [b'0', b'1', b'2']
    """

    def __init__(
        self,
        step: ShardStep,
        store: ShardStore,
        clock: Clock,
        settings: ShardSettings | None = None,
        before: Callable[[], Awaitable[None]] | None = None,
        gate: ShardGate[SourceRecord] | None = None,
    ) -> None:
        self._step = step
        self._before = before
        self._gate = gate
        self._store = store
        self._backlog: Backlog[SourceRecord] = Backlog(store.read)
        self._clock = clock
        self._settings = settings or ShardSettings()
        self._position = 0
        self._committed = 0
        self._n_unsaved = 0
        self._n_gathered = 0
        now = clock.monotonic_s()
        self._heard_s = self._committed_s = self._saved_s = now
        self._emitted_s, self._took_s = -math.inf, 0.0
        self._seen_end, self._is_left_alone = 0, False
        self.figures = ShardFigures()

    @property
    def step(self) -> ShardStep:
        """What it drives."""
        return self._step

    @property
    def position(self) -> int:
        """Offset of the next record to learn."""
        return self._position

    @property
    def committed(self) -> int:
        """The last committed position."""
        return self._committed

    @property
    def is_held(self) -> bool:
        """Whether something waits that was delivered."""
        return self._backlog.until > self._position

    @property
    def wants_pace(self) -> bool:
        """Whether `keep_pace` has anything to do."""
        return self._gate is not None and (self.is_held or self._gate.wants_end)

    async def open(self) -> None:
        """Take the partition over: fence its owner, restore the newest snapshot, run the rest again.

        Raises:
            LogError: the source ends before what was learned.
            SnapshotError: the snapshot is not one that this step wrote.
        """
        start_s = self._clock.monotonic_s()
        frame, taken_at, position = await self._store.recover()
        end = await self._store.end()
        if end < position:
            # Whatever came into it now would be skipped as known, without a word.
            msg = (
                f"the partition ends at offset {end} and was learned up to {position}: its topic was made "
                "anew or lost its data; restore it, or make the state topic and all behind it anew as well"
            )
            raise LogError(msg)
        if self._before is not None:
            await self._before()
        if frame is not None:
            self._restore(frame, taken_at)
        async for records in self._store.read(taken_at, position):
            self._step.on_records(records)
            self._step.take()  # what came out of them stands in the commits
            self.figures.run_again += len(records)
        self._position = self._committed = position
        if isinstance(self._step, CountingStep):
            self.figures.inherited = dict(self._step.counters)
        self._n_unsaved = self.figures.run_again
        self._heard_s = self._committed_s = self._saved_s = self._clock.monotonic_s()
        self.figures.takeover_ms = 1e3 * (self._heard_s - start_s)
        if self._gate is not None:
            self._gate.settled(position)

    def _restore(self, frame: Frame, taken_at: int) -> None:
        try:
            self._step.restore(frame)
        except FreshetError:
            raise
        except Exception as error:  # compiled code has errors of its own; all mean the same here
            msg = (
                f"the snapshot at position {taken_at} lacks something or holds something else ({error!r}); "
                "another program wrote it, or one with other settings"
            )
            raise SnapshotError(msg) from error

    async def deliver(self, records: Sequence[SourceRecord]) -> None:
        """Take what was delivered, in the order of offsets; skip and fill as needed, and commit."""
        self._heard_s = self._clock.monotonic_s()
        if self.is_held:
            self._backlog.put(records, self._position)
            records = ()
        batch: list[SourceRecord] = []
        expected = self._position
        for n, record in enumerate(records):
            if record.offset < expected:
                self.figures.repeated += 1
                continue
            if record.offset > expected and (record.since is None or record.since > expected):
                await self._learn(batch)
                batch = []
                await self._fill(record.offset)
                if self.is_held:
                    self._backlog.put(records[n:], self._position)
                    break
            self._is_left_alone = False
            batch.append(record)
            expected = record.offset + 1
        await self._learn(batch)
        await self._look_after()

    async def keep_pace(self) -> None:
        """Learn what waits, as far as the gate lets it now, and tell the gate where the source ends."""
        if self._gate is None:
            return
        if self.is_held:
            await self._go_on()
        if self._gate.wants_end:
            asks = self._gate.asks()
            self._gate.ended(await self._store.end(), asks)
        await self._look_after()

    async def amend(self, change: Callable[[], None]) -> None:
        """Change the step otherwise than by a record. The snapshot that makes it last is written at once."""
        await self._commit(empty=False)
        change()
        await self._save()

    async def pass_over(self, position: int) -> None:
        """Take what stands before `position` for learned, unread; no take-over runs it again."""
        await self._commit(empty=False)
        self._position = position
        await self._save()

    def due_in_s(self) -> float | None:
        """Seconds until what has gathered should be committed with `emit`; None if there is nothing."""
        if not self._n_gathered:
            return None
        gather_s = max(self._settings.gather_s, min(_LONGER * self._took_s, _LONGEST_S))
        return max(0.0, self._emitted_s + gather_s - self._clock.monotonic_s())

    async def emit(self) -> None:
        """Commit what has gathered, if it has gathered long enough."""
        if self.due_in_s() == 0.0:
            await self._commit(empty=False)

    async def idle(self, *, is_busy: bool = False) -> None:
        """To be called now and then: looks at the tail, commits and saves what is due.

        Args:
            is_busy: something is being delivered to other partitions.
        """
        now = self._clock.monotonic_s()
        if self.is_held:
            self._heard_s = now  # its tail is looked at when what waits is learned
        # Whoever delivers to others may have ours in its hands, and not have come to it yet.
        patience = _PATIENCE if is_busy and not self._is_left_alone else 1
        if now - self._heard_s >= patience * self._settings.tail_s:
            self._heard_s = now
            await self._look_at_tail()
        await self._look_after()

    async def close(self, *, save: bool = False) -> None:
        """Let go of the partition; `save` first takes a snapshot if anything changed since the last."""
        try:
            if save and self._n_unsaved:
                await self._save()
        finally:
            if self._gate is not None:
                self._gate.close()
            await self._backlog.close()
            await self._store.close()

    async def _look_at_tail(self) -> None:
        """Learn what stood there a look ago and was not delivered since; remember what stands there now."""
        end = await self._store.end()
        if self._position < self._seen_end or self._is_left_alone:
            before = self.figures.filled
            await self._fill(end)
            # Faust may go on delivering to others for minutes, and never to this one.
            self._is_left_alone = self._is_left_alone or self.figures.filled > before
        self._seen_end = end

    async def _fill(self, stop: int) -> None:
        """Learn what lies before `stop`, which becomes the position unless something is held."""
        if stop <= self._position:
            return
        was_held, before = self.is_held, self.figures.records
        self._backlog.until = max(self._backlog.until, stop)
        if was_held:
            return
        await self._go_on()
        found = self.figures.records - before + len(self._backlog)
        if found:
            self.figures.holes += 1
            self.figures.filled += found

    async def _go_on(self) -> None:
        """Learn what waits, as far as the gate lets it, and for a while at most."""
        start_s = self._clock.monotonic_s()
        while (records := await self._backlog.take(self._position)) is not None:
            await self._learn(records)
            if len(self._backlog):
                return
            if self._gate is not None and self._clock.monotonic_s() - start_s > _TURN_S:
                self._gate.nudge()
                return
        self._position = max(self._position, self._backlog.until)
        self._settle()

    async def _learn(self, records: Sequence[SourceRecord]) -> None:
        """Learn records, as far as the gate lets them; the others wait."""
        if not records:
            return
        n = len(records) if self._gate is None else self._gate.admit(records)
        if n:
            learned = records[:n] if n < len(records) else records
            self._step.on_records(learned)
            self._position = learned[-1].offset + 1
            self._n_unsaved += n
            self._n_gathered += n
            self.figures.records += n
        if n == len(records):
            await self.emit()
        else:
            self._backlog.put_back(records[n:])
            await self._commit(empty=False)  # the others wait for it, and nothing more will gather

    def _settle(self) -> None:
        if self._gate is not None and not self._n_gathered:
            self._gate.settled(self._position)

    async def _commit(self, *, empty: bool) -> None:
        """Commit all that came out so far with the position; nothing may ever be committed without it."""
        start_s = self._clock.monotonic_s()
        outputs = self._step.take()
        self._n_gathered = 0
        # What gave nothing need not be committed at once: run again, it would give nothing again.
        if outputs or empty:
            await self._store.commit(outputs, self._position)
            self._emitted_s = self._clock.monotonic_s()
            self._took_s = self._emitted_s - start_s
            self._note_commit()
        self._settle()

    def _note_commit(self) -> None:
        self._committed, self._committed_s = self._position, self._clock.monotonic_s()
        self.figures.commits += 1

    async def _look_after(self) -> None:
        """Commit what is gathered or waits, and take a snapshot, if they are due."""
        await self.emit()
        now, settings = self._clock.monotonic_s(), self._settings
        is_old = self._n_unsaved and now - self._saved_s >= settings.snapshot_s
        if is_old or self._n_unsaved >= settings.snapshot_records:
            await self._save()
        elif self._position > self._committed and now - self._committed_s >= settings.commit_s:
            await self._commit(empty=True)

    async def _save(self) -> None:
        await self._commit(empty=False)  # a snapshot says that what came out before it stands
        await self._store.save(self._step.snapshot(), self._position)
        self._note_commit()
        self._n_unsaved = 0
        self._saved_s = self._clock.monotonic_s()
        self.figures.snapshots += 1
