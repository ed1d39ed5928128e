"""Contract kit of shards: what every store and every step promises, and a delivery that misbehaves.

Inherit `ShardStoreContract` and give it a fixture `partition`; inherit `ShardStepContract` and say how to
make the step and its records. `ShardPlay` runs a shard through drops, repetitions and crashes.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

import pytest

from stream.clock import ManualClock
from stream.engine.shard import Output, Recovered, Shard, ShardStep, ShardStore, SourceRecord
from stream.engine.shard_memory import MemoryPartition, MemoryShardStore
from stream.engine.worker_settings import ShardSettings
from stream.errors import FencedError
from stream.frame import Frame, pack, unpack

T = TypeVar("T")

__all__ = [
    "Crash",
    "CrashingStore",
    "FoldingStep",
    "ShardPlay",
    "ShardStepContract",
    "ShardStoreContract",
    "StorePartition",
]


class FoldingStep:
    """A step whose state depends on every record and their order, and that gives one output for each.

    A record with the value ``quiet`` changes the state and gives nothing.

    Example:
        >>> step = FoldingStep()
        >>> step.on_records([SourceRecord(0, b"a"), SourceRecord(1, b"quiet")])
        >>> [output.key for output in step.take()], step.take()
        ([b'0'], [])
    """

    def __init__(self) -> None:
        self.digest = b""
        self.count = 0
        self._outputs: list[Output] = []

    def on_records(self, records: Sequence[SourceRecord]) -> None:
        """Fold them in."""
        for record in records:
            self.digest = hashlib.blake2b(self.digest + record.value, digest_size=16).digest()
            self.count += 1
            if record.value != b"quiet":
                topic = "feedback" if record.offset % 2 else "item-feedback"
                self._outputs.append(Output(topic, 0, self.digest, str(record.offset).encode()))

    def take(self) -> list[Output]:
        """One output for each record that is not quiet."""
        outputs, self._outputs = self._outputs, []
        return outputs

    def snapshot(self) -> Frame:
        """All of it."""
        return {"digest": self.digest, "count": self.count}

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described."""
        self.digest, self.count, self._outputs = frame["digest"], frame["count"], []


class Crash(Exception):  # noqa: N818
    """Thrown where a process would be killed."""


class CrashingStore:
    """A store that dies in its `fuse`-th call, before or after that call took effect; 0 never dies.

    Example:
        >>> store = CrashingStore(MemoryShardStore(MemoryPartition()), fuse=1, after=True)
        >>> asyncio.run(store.recover())
        Traceback (most recent call last):
            ...
        stream.testing_shard.Crash
    """

    def __init__(self, store: ShardStore, fuse: int, *, after: bool) -> None:
        self._store, self._fuse, self._after = store, fuse, after

    async def recover(self) -> Recovered:
        """As the store, or a crash."""
        return await self._call(self._store.recover)

    async def read(self, start: int, stop: int) -> AsyncIterator[Sequence[SourceRecord]]:
        """As the store, or a crash between two batches."""
        async for records in self._store.read(start, stop):
            await self._call(_nothing)
            yield records

    async def end(self) -> int:
        """As the store, or a crash."""
        return await self._call(self._store.end)

    async def commit(self, outputs: Sequence[Output], position: int) -> None:
        """As the store, or a crash."""
        await self._call(lambda: self._store.commit(outputs, position))

    async def save(self, frame: Frame, position: int) -> None:
        """As the store, or a crash."""
        await self._call(lambda: self._store.save(frame, position))

    async def close(self) -> None:
        """As the store."""
        await self._store.close()

    async def _call(self, call: Callable[[], Awaitable[T]]) -> T:
        self._fuse -= 1
        if self._fuse == 0 and not self._after:
            raise Crash
        answer = await call()
        if self._fuse == 0:
            raise Crash
        return answer


async def _nothing() -> None:
    return None


class ShardPlay:
    """A source that grows, a delivery that drops and repeats, and owners that die and come back as zombies.

    Every move is one call, so that a property test can make a random sequence of them.
    """

    def __init__(self, make_step: Callable[[], ShardStep], settings: ShardSettings | None = None) -> None:
        self.make_step = make_step
        self.partition = MemoryPartition()
        self.clock = ManualClock(1_000)
        self._settings = settings or ShardSettings(snapshot_s=3.0, snapshot_records=20)
        self.shard: Shard | None = None
        self.step = make_step()
        self._zombie: Shard | None = None

    async def ready(self, fuse: int = 0, *, after: bool = False) -> Shard:
        """The owner; a new one that will die at its `fuse`-th call if there is none."""
        if self.shard is None:
            self.step = self.make_step()
            store = CrashingStore(MemoryShardStore(self.partition), fuse, after=after)
            shard = Shard(self.step, store, self.clock, self._settings)
            await shard.open()
            self.shard = shard
        return self.shard

    async def deliver(self, numbers: Sequence[int], fuse: int = 0, *, after: bool = False) -> None:
        """Deliver the records of these numbers, in their order; the owner may die of it."""
        records = [self.partition.records[number] for number in numbers]
        await self._try(lambda shard: shard.deliver(records), fuse, after=after)

    async def rest(self, ms: int, fuse: int = 0, *, after: bool = False) -> None:
        """Let time pass; the owner may look at the tail, and die of it."""
        self.clock.advance_ms(ms)
        await self._try(lambda shard: shard.idle(), fuse, after=after)

    async def _try(self, act: Callable[[Shard], Awaitable[None]], fuse: int, *, after: bool) -> None:
        try:
            await act(await self.ready(fuse, after=after))
        except Crash:
            self.shard = None

    def freeze(self) -> None:
        """Stop the owner as SIGSTOP would; it does not know that somebody else will take over."""
        self._zombie, self.shard = self.shard, None

    async def thaw(self, numbers: Sequence[int]) -> None:
        """Let the frozen owner go on with a delivery; it must not be able to write."""
        if self._zombie is None or self._zombie is self.shard:
            return
        await self.ready()
        before = len(self.partition.outputs), self.partition.position
        with contextlib.suppress(FencedError, Crash):
            await self._zombie.deliver([self.partition.records[number] for number in numbers])
        self._zombie = None
        assert (len(self.partition.outputs), self.partition.position) == before

    async def finish(self) -> None:
        """Nothing is delivered any more: the tail alone must bring the rest."""
        # The owner may still die of a fuse; the one after it waits a while before it looks.
        calm = 0
        while calm < 3:
            owner = self.shard
            await self.rest(2_000)
            calm = calm + 1 if owner is not None and self.shard is owner else 0

    def check(self) -> None:
        """State and outputs are those of a step that saw every record once, in order."""
        plain = self.make_step()
        plain.on_records(self.partition.records)
        assert pack(self.step.snapshot()) == pack(plain.snapshot())
        assert self.partition.outputs == plain.take()


class StorePartition(Protocol):
    """What a store's tests need of the place behind it."""

    def store(self) -> ShardStore:
        """A store that is not yet the owner."""

    async def append(self, value: bytes) -> SourceRecord:
        """Put a record at the end of the source; its offset and value count."""

    async def outputs(self, topic: str) -> list[tuple[bytes | None, bytes | None]]:
        """Key and value of all committed outputs of a topic, partition 0."""


class ShardStoreContract:
    """What every store promises; inherit and provide the fixture `partition`, an empty one."""

    @pytest.fixture
    def partition(self) -> StorePartition:
        """The place under test."""
        raise NotImplementedError

    def run(self, test: Callable[[], Awaitable[None]]) -> None:
        """Run one test's coroutine."""

        async def whole() -> None:
            await test()

        asyncio.run(whole())

    def test_a_new_partition_starts_at_its_first_record(self, partition: StorePartition) -> None:
        async def test() -> None:
            store = partition.store()
            assert await store.recover() == Recovered(None, 0, 0)
            assert await store.end() == 0
            await store.close()

        self.run(test)

    def test_outputs_and_position_come_back_together(self, partition: StorePartition) -> None:
        async def test() -> None:
            store = partition.store()
            await store.recover()
            await store.commit([Output("feedback", 0, b"x", b"k"), Output("catalogue", 0, None, b"i")], 7)
            await store.commit([Output("feedback", 0, b"y", b"k")], 9)
            await store.close()
            again = partition.store()
            assert (await again.recover()).position == 9
            assert await partition.outputs("feedback") == [(b"k", b"x"), (b"k", b"y")]
            assert await partition.outputs("catalogue") == [(b"i", None)]
            await again.close()

        self.run(test)

    def test_the_newest_snapshot_comes_back_whole(self, partition: StorePartition) -> None:
        async def test() -> None:
            store = partition.store()
            await store.recover()
            for position in (3, 5, 8):
                await store.save({"big": bytes([position]) * 2_500_000, "position": position}, position)
            await store.commit([], 11)
            await store.close()
            again = partition.store()
            frame, taken_at, position = await again.recover()
            assert frame == {"big": b"\x08" * 2_500_000, "position": 8}
            assert (taken_at, position) == (8, 11)
            await again.close()

        self.run(test)

    def test_the_source_is_read_between_two_offsets(self, partition: StorePartition) -> None:
        async def test() -> None:
            written = [await partition.append(b"%d" % n) for n in range(10)]
            store = partition.store()
            await store.recover()
            start, stop = written[2].offset, written[9].offset
            read = [record async for batch in store.read(start, stop) for record in batch]
            assert [(r.offset, r.value) for r in read] == [(r.offset, r.value) for r in written[2:9]]
            assert [batch async for batch in store.read(stop, stop)] == []
            assert await store.end() == written[9].offset + 1
            await store.close()

        self.run(test)

    def test_whoever_was_replaced_can_write_nothing(self, partition: StorePartition) -> None:
        async def test() -> None:
            old, new = partition.store(), partition.store()
            await old.recover()
            await old.commit([Output("feedback", 0, b"mine", None)], 1)
            assert (await new.recover()).position == 1
            for _ in range(2):  # however often it tries
                with pytest.raises(FencedError):
                    await old.commit([Output("feedback", 0, b"late", None)], 2)
            with pytest.raises(FencedError):
                await old.save({"late": 1}, 2)
            await new.commit([Output("feedback", 0, b"theirs", None)], 2)
            assert [value for _, value in await partition.outputs("feedback")] == [b"mine", b"theirs"]
            await old.close()
            await new.close()

        self.run(test)


class ShardStepContract:
    """What holds for every step of a shard; a subclass says how to make one and what it reads."""

    def make_step(self) -> ShardStep:
        """A new step; two of them are equal."""
        raise NotImplementedError

    def records(self) -> list[SourceRecord]:
        """Records that reach much of the step."""
        raise NotImplementedError

    def meaning(self, outputs: Sequence[Output]) -> object:
        """The outputs as something that does not depend on how the input was cut into batches."""
        raise NotImplementedError

    @pytest.mark.parametrize("cut", [1, 7, 100])
    def test_batches_have_no_meaning(self, cut: int) -> None:
        records = self.records()
        whole, parts = self.make_step(), self.make_step()
        whole.on_records(records)
        outputs: list[Output] = []
        for first in range(0, len(records), cut):
            parts.on_records(records[first : first + cut])
            outputs += parts.take()
        assert self.meaning(outputs) == self.meaning(whole.take())
        assert pack(parts.snapshot()) == pack(whole.snapshot())

    @pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 1.0])
    def test_it_resumes_anywhere(self, share: float) -> None:
        records = self.records()
        at = int(share * len(records))
        first, resumed = self.make_step(), self.make_step()
        first.on_records(records[:at])
        first.take()
        resumed.restore(unpack(pack(first.snapshot())))
        for step in (first, resumed):
            step.on_records(records[at:])
        assert resumed.take() == first.take()
        assert pack(resumed.snapshot()) == pack(first.snapshot())

    def test_a_snapshot_is_a_copy(self) -> None:
        records = self.records()
        step = self.make_step()
        step.on_records(records[: len(records) // 2])
        frame = step.snapshot()
        before = pack(frame)
        step.on_records(records[len(records) // 2 :])
        assert pack(frame) == before
