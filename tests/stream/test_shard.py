"""One partition, exactly once: whatever is delivered, dropped, repeated, and wherever it dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.clock import ManualClock
from stream.engine.shard import Output, Shard, ShardStore, SourceRecord
from stream.engine.shard_memory import MemoryPartition, MemoryShardStore
from stream.engine.worker_settings import ShardSettings
from stream.errors import FencedError
from stream.testing_shard import FoldingStep, ShardPlay, ShardStepContract, ShardStoreContract

MOVES = st.one_of(
    st.tuples(st.just("append"), st.integers(1, 8), st.integers(0, 3)),
    st.tuples(
        st.just("deliver"),
        st.lists(st.integers(0, 40), max_size=12),
        st.one_of(st.just(0), st.integers(1, 6)),
        st.booleans(),
    ),
    st.tuples(
        st.just("rest"), st.sampled_from([10, 1_500, 5_000]), st.sampled_from([0, 0, 1, 2, 3]), st.booleans()
    ),
    st.tuples(st.just("freeze")),
    st.tuples(st.just("thaw"), st.lists(st.integers(0, 40), max_size=6)),
)


async def _move(play: ShardPlay, move: Any) -> None:
    n_records = len(play.partition.records)
    if move[0] == "append":
        for number in range(move[1]):
            play.partition.append(b"quiet" if number % 4 == move[2] else b"%d" % play.partition.end)
        play.partition.skip()
    elif move[0] == "deliver":
        # A run of records with holes, from wherever the deliverer believes the end to be.
        await play.deliver(sorted({n for n in move[1] if n < n_records}), move[2], after=move[3])
    elif move[0] == "rest":
        await play.rest(move[1], move[2], after=move[3])
    elif move[0] == "freeze":
        play.freeze()
    else:
        await play.thaw(sorted({n for n in move[1] if n < n_records}))


@settings(max_examples=300, deadline=None)
@given(moves=st.lists(MOVES, max_size=40), gather_s=st.sampled_from([0.0, 0.05, 3.0]))
def test_any_delivery_and_any_crash_end_in_the_same_state_and_the_same_outputs(
    moves: list[Any], gather_s: float
) -> None:
    play = ShardPlay(FoldingStep, ShardSettings(gather_s=gather_s, snapshot_s=3.0, snapshot_records=20))

    async def whole() -> None:
        for move in moves:
            await _move(play, move)
        await play.finish()

    asyncio.run(whole())
    play.check()


@pytest.mark.parametrize("fuse", range(1, 12))
@pytest.mark.parametrize("after", [False, True])
def test_a_crash_in_any_call_is_recovered_from(fuse: int, after: bool) -> None:
    play = ShardPlay(FoldingStep)

    async def whole() -> None:
        for number in range(30):
            play.partition.append(b"%d" % number)
        for first in range(0, 30, 6):
            await play.deliver(range(first, first + 5), fuse, after=after)
        await play.finish()

    asyncio.run(whole())
    play.check()


class _Partition:
    def __init__(self) -> None:
        self.memory = MemoryPartition()

    def store(self) -> ShardStore:
        return MemoryShardStore(self.memory)

    async def append(self, value: bytes) -> SourceRecord:
        return self.memory.append(value)

    async def outputs(self, topic: str) -> list[tuple[bytes | None, bytes | None]]:
        return [(output.key, output.value) for output in self.memory.outputs if output.topic == topic]


class TestMemoryStore(ShardStoreContract):
    @pytest.fixture
    def partition(self) -> _Partition:
        return _Partition()


class TestFoldingStep(ShardStepContract):
    def make_step(self) -> FoldingStep:
        return FoldingStep()

    def records(self) -> list[SourceRecord]:
        return [SourceRecord(n, b"quiet" if n % 5 == 0 else b"%d" % n) for n in range(60)]

    def meaning(self, outputs: Sequence[Output]) -> object:
        return outputs


def _opened(
    partition: MemoryPartition, clock: ManualClock, settings: ShardSettings | None = None
) -> tuple[Shard, FoldingStep]:
    step = FoldingStep()
    return Shard(step, MemoryShardStore(partition), clock, settings), step


def test_a_take_over_emits_nothing_that_was_emitted() -> None:
    partition, clock = MemoryPartition(), ManualClock()
    records = [partition.append(b"%d" % n) for n in range(10)]

    async def whole() -> tuple[Shard, FoldingStep]:
        first, _ = _opened(partition, clock)
        await first.open()
        await first.deliver(records)
        second, step = _opened(partition, clock)
        await second.open()
        return second, step

    second, step = asyncio.run(whole())
    assert (step.count, second.position, second.figures.run_again) == (10, 10, 10)
    assert len(partition.outputs) == 10


@pytest.mark.parametrize(("drops", "holes"), [(0, []), (1, [(1, 3)])])
def test_a_hole_that_is_known_to_be_empty_is_not_looked_into(
    drops: int, holes: list[tuple[int, int]]
) -> None:
    partition = MemoryPartition()
    before = partition.append(b"a")
    partition.skip()
    behind = [partition.append(b"b"), partition.append(b"c")][drops:]

    async def play() -> list[tuple[int, int]]:
        store = _ReadingStore(partition)
        shard = Shard(FoldingStep(), store, ManualClock())
        await shard.open()
        store.looked.clear()
        await shard.deliver([before, *behind])
        return store.looked

    assert asyncio.run(play()) == holes


class _ReadingStore(MemoryShardStore):
    def __init__(self, partition: MemoryPartition) -> None:
        super().__init__(partition)
        self.looked: list[tuple[int, int]] = []

    def read(self, start: int, stop: int) -> AsyncIterator[Sequence[SourceRecord]]:
        self.looked.append((start, stop))
        return super().read(start, stop)


def test_outputs_gather_and_are_committed_when_they_are_due() -> None:
    partition, clock = MemoryPartition(), ManualClock()
    records = [partition.append(b"%d" % n) for n in range(6)]

    async def whole() -> None:
        shard, _ = _opened(partition, clock, ShardSettings(gather_s=0.05))
        await shard.open()
        assert shard.due_in_s() is None
        for record in records:
            await shard.deliver([record])
        # The first goes at once, what comes meanwhile together.
        assert len(partition.outputs) == 1
        assert shard.due_in_s() == pytest.approx(0.05)
        clock.advance_ms(50)
        await shard.emit()
        assert (len(partition.outputs), shard.due_in_s(), shard.figures.commits) == (6, None, 2)

    asyncio.run(whole())


def test_a_snapshot_takes_along_what_has_gathered() -> None:
    partition, clock = MemoryPartition(), ManualClock()
    records = [partition.append(b"%d" % n) for n in range(6)]

    async def whole() -> None:
        shard, _ = _opened(partition, clock, ShardSettings(gather_s=10))
        await shard.open()
        for record in records:
            await shard.deliver([record])
        await shard.close(save=True)

    asyncio.run(whole())
    assert (len(partition.outputs), partition.position) == (6, 6)


def test_a_snapshot_bounds_what_is_run_again() -> None:
    partition, clock = MemoryPartition(), ManualClock()
    records = [partition.append(b"%d" % n) for n in range(10)]

    async def whole() -> Shard:
        first, _ = _opened(partition, clock, ShardSettings(gather_s=0, snapshot_records=4))
        await first.open()
        for record in records:
            await first.deliver([record])
        second, _ = _opened(partition, clock)
        await second.open()
        return second

    assert asyncio.run(whole()).figures.run_again == 2


def test_records_that_give_nothing_are_committed_with_time() -> None:
    partition, clock = MemoryPartition(), ManualClock()
    record = partition.append(b"quiet")

    async def whole() -> list[int]:
        shard, _ = _opened(partition, clock)
        await shard.open()
        await shard.deliver([record])
        committed = [shard.committed]
        clock.advance_ms(5_000)
        await shard.idle()
        return [*committed, shard.committed, partition.position]

    assert asyncio.run(whole()) == [0, 1, 1]


def test_the_tail_is_left_alone_while_records_are_delivered() -> None:
    partition, clock = MemoryPartition(), ManualClock()

    async def whole() -> list[int]:
        shard, _ = _opened(partition, clock)
        await shard.open()
        partition.append(b"never delivered")
        clock.advance_ms(999)
        await shard.idle()
        positions = [shard.position]
        # Seen once, it may be on its way still; seen again, it is not.
        for ms in (1, 1_000):
            clock.advance_ms(ms)
            await shard.idle()
            positions.append(shard.position)
        return [*positions, shard.figures.holes]

    assert asyncio.run(whole()) == [0, 0, 1, 1]


def test_the_tail_of_a_partition_is_left_longer_while_others_get_theirs() -> None:
    partition, clock = MemoryPartition(), ManualClock()

    async def whole() -> list[int]:
        shard, _ = _opened(partition, clock)
        await shard.open()
        partition.append(b"waits behind others")
        positions = []
        for _ in range(20):
            clock.advance_ms(1_000)
            await shard.idle(is_busy=True)
            positions.append(shard.position)
        return positions

    assert asyncio.run(whole()) == [0] * 9 + [1] * 11


def test_a_partition_that_gets_nothing_any_more_is_read_every_second() -> None:
    partition, clock = MemoryPartition(), ManualClock()

    async def whole() -> list[int]:
        shard, _ = _opened(partition, clock)
        await shard.open()
        positions = []
        for _ in range(14):
            partition.append(b"never delivered, though others get theirs")
            clock.advance_ms(1_000)
            await shard.idle(is_busy=True)
            positions.append(shard.position)
        return positions

    assert asyncio.run(whole()) == [0] * 9 + [10, 11, 12, 13, 14]


def test_markers_between_records_are_no_holes() -> None:
    partition, clock = MemoryPartition(), ManualClock()
    first = partition.append(b"a")
    partition.skip()
    second = partition.append(b"b")

    async def whole() -> Shard:
        shard, _ = _opened(partition, clock)
        await shard.open()
        await shard.deliver([first, second])
        return shard

    shard = asyncio.run(whole())
    assert (shard.position, shard.figures.holes) == (3, 0)


def test_closing_for_good_saves_what_a_snapshot_does_not_hold() -> None:
    partition, clock = MemoryPartition(), ManualClock()
    record = partition.append(b"a")

    async def whole() -> int:
        shard, _ = _opened(partition, clock)
        await shard.open()
        await shard.deliver([record])
        await shard.close(save=True)
        again, _ = _opened(partition, clock)
        await again.open()
        return again.figures.run_again

    assert asyncio.run(whole()) == 0


def test_a_replaced_owner_hears_of_it() -> None:
    partition, clock = MemoryPartition(), ManualClock()
    record = partition.append(b"a")

    async def whole() -> None:
        old, _ = _opened(partition, clock)
        await old.open()
        new, _ = _opened(partition, clock)
        await new.open()
        await old.deliver([record])

    with pytest.raises(FencedError):
        asyncio.run(whole())
    assert partition.outputs == []
