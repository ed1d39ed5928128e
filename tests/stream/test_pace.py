"""Partitions in step: nobody waits for ever, and nothing is learned that lies far ahead of the slowest."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from stream.clock import ManualClock
from stream.engine.pace import HISTORY, Board, Gate, Mark
from stream.engine.shard import Output, Shard, SourceRecord
from stream.engine.shard_memory import MemoryPartition, MemoryShardStore
from stream.engine.worker_settings import ShardSettings
from stream.testing_shard import FoldingStep

SKEW = 60_000
FOREVER_S = 1e12


def times(record: SourceRecord) -> tuple[int, int] | None:
    """A record's value is the times of its first and last event; one without moves no time."""
    found = [int(part) for part in record.value.split()]
    return (found[0], found[1]) if found else None


class Store(MemoryShardStore):
    """Also writes down in which order the records of all partitions were committed."""

    def __init__(self, world: World, n: int) -> None:
        super().__init__(world.partitions[n])
        self._world, self._n = world, n

    async def commit(self, outputs: Sequence[Output], position: int) -> None:
        await super().commit(outputs, position)
        self._world.learned += [(self._n, int(output.key or b"")) for output in outputs]


class Worker:
    """A board, and the shards of some partitions; hears and tells when the world says so."""

    def __init__(self, world: World) -> None:
        self.world, self.heard = world, 0
        self.shards, self.gates = dict[int, Shard](), dict[int, Gate]()
        self.board = Board(len(world.partitions), SKEW, world.clock, silent_s=world.silent_s)

    async def take_over(self, n: int) -> None:
        world = self.world
        gate = Gate(n, self.board, times, world.clock)
        shard = Shard(
            FoldingStep(), Store(world, n), world.clock, ShardSettings(gather_s=world.gather_s), gate=gate
        )
        await shard.open()
        self.shards[n], self.gates[n] = shard, gate

    async def deliver(self, n: int, start: int) -> None:
        """As Faust does: from somewhere on, once, and some more than once."""
        if n in self.shards:
            await self.shards[n].deliver([r for r in self.world.partitions[n].records if r.offset >= start])

    async def pace(self) -> None:
        for shard in self.shards.values():
            if shard.wants_pace:
                await shard.keep_pace()
        self.board.look()
        self.world.control += [(self, *row) for row in self.board.to_tell()]

    def hear(self, most: int) -> None:
        for worker, n, mark in self.world.control[self.heard : self.heard + most]:
            if worker is not self:
                self.board.hear(n, mark)
        self.heard = min(self.heard + most, len(self.world.control))


class World:
    """Partitions, workers, and the topic in which they tell each other their marks."""

    def __init__(
        self, n_partitions: int, *, n_workers: int, gather_s: float = 0.0, silent_s: float = FOREVER_S
    ):
        self.clock, self.gather_s, self.silent_s = ManualClock(10**9), gather_s, silent_s
        self.partitions = [MemoryPartition() for _ in range(n_partitions)]
        self.control: list[tuple[Worker, int, Mark]] = []
        self.learned: list[tuple[int, int]] = []
        self.written: dict[tuple[int, int], int] = {}
        """Which records were there before which others: those of one number came together."""
        self.workers = [Worker(self) for _ in range(n_workers)]
        self.batch = 0

    async def open(self) -> None:
        for n in range(len(self.partitions)):
            await self.workers[n % len(self.workers)].take_over(n)

    def write(self, n: int, *when: tuple[int, int] | None) -> None:
        """History of these times; None is a live record."""
        for each in when:
            value, headers = (b"", ()) if each is None else (b"%d %d" % each, (HISTORY,))
            at = int(self.clock.now_ms())
            offset = self.partitions[n].append(value, headers=headers, at=at).offset
            self.written[n, offset] = self.batch
        self.partitions[n].skip()  # as the end of a transaction does

    async def move(self, n: int, to: Worker) -> None:
        for worker in self.workers:
            if n in worker.shards:
                await worker.shards.pop(n).close()
        await to.take_over(n)

    def drop(self, n: int) -> None:
        """Its owner is killed in the middle of what it does; nobody owns it then."""
        for worker in self.workers:
            if n in worker.shards:
                worker.gates[n].close()
                del worker.shards[n]

    def times_of(self, n: int) -> dict[int, tuple[int, int]]:
        """The times of a partition's records of history, by offset."""
        found = {record.offset: times(record) for record in self.partitions[n].records}
        return {offset: when for offset, when in found.items() if when is not None}

    async def act(self, what: str, a: int, b: int) -> None:
        worker, n = self.workers[a % len(self.workers)], b % len(self.partitions)
        match what:
            case "deliver":
                for each in self.workers:
                    await each.deliver(n, a)
            case "pace":
                await worker.pace()
            case "hear":
                worker.hear(b)
            case "rest":
                self.clock.advance_ms(10 * 3**b)
            case "live":
                self.batch += 1
                self.write(n, *[None] * (1 + a % 3))
            case "history":
                self.batch += 1
                self.write(n, (10_000 * a, 10_000 * (a + b)))
            case "more history":
                self.batch += 1
                last = max((when[1] for when in self.times_of(n).values()), default=0)
                self.write(n, (last + 10_000 * a, last + 10_000 * (a + b)))
            case "move":
                await self.move(n, worker)
            case "die":
                self.drop(n)

    async def turn(self) -> None:
        """Everybody does once what they have to do."""
        for worker in self.workers:
            worker.hear(1_000)
            for shard in worker.shards.values():
                await shard.idle()
            await worker.pace()
        self.clock.advance_ms(1_100)

    async def finish(self) -> int:
        """How many turns it takes until all is learned, once every partition has an owner."""
        owned = {n for worker in self.workers for n in worker.shards}
        for n in set(range(len(self.partitions))) - owned:
            await self.workers[0].take_over(n)
        for n in range(len(self.partitions)):
            for worker in self.workers:
                await worker.deliver(n, 0)
        for turn in range(40 + 8 * len(self.written)):
            if sorted(self.learned) == sorted(self.written):
                return turn
            await self.turn()
        waits = [worker.board.waits for worker in self.workers]
        msg = f"they wait for ever: {waits}, {self.workers[0].board.marks}"
        raise AssertionError(msg)

    def ahead(self) -> list[tuple[tuple[int, int], tuple[int, int]]]:
        """Pairs of records of which the first was learned too early: the other was there already."""
        when = {
            (n, offset): at for n in range(len(self.partitions)) for offset, at in self.times_of(n).items()
        }
        order = [(place, *when[place], self.written[place]) for place in self.learned if place in when]
        return [
            (early[0], late[0])
            for early, late in combinations(order, 2)
            if early[0][0] != late[0][0] and late[3] <= early[3]
            if early[2] > late[1] + SKEW and early[1] > late[1]
        ]


HISTORIES = st.lists(
    st.lists(
        st.one_of(
            st.none(), st.tuples(st.sampled_from([0, 1, 2, 5, 30, 10**6]), st.sampled_from([0, 0, 1, 9]))
        ),
        max_size=9,
    ),
    min_size=1,
    max_size=4,
)
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(
            ["deliver", "pace", "pace", "hear", "hear", "rest", "live", "more history", "move", "die"]
        ),
        st.integers(0, 9),
        st.integers(0, 9),
    ),
    max_size=60,
)


def put_in_order(history: Sequence[tuple[int, int] | None]) -> list[tuple[int, int] | None]:
    """Times that never go back, from steps of 20 s, with live records between them."""
    at, found = 0, list[tuple[int, int] | None]()
    for each in history:
        if each is None:
            found.append(None)
        else:
            found.append((at + 20_000 * each[0], at + 20_000 * (each[0] + each[1])))
            at += 20_000 * (each[0] + each[1])
    return found


@settings(max_examples=300, deadline=None)
@given(
    histories=HISTORIES,
    actions=ACTIONS,
    n_workers=st.integers(1, 3),
    gather_s=st.sampled_from([0.0, 3.0]),
)
def test_nobody_waits_for_ever_and_nothing_is_learned_that_lies_far_ahead(
    histories: list[list[tuple[int, int] | None]],
    actions: list[tuple[str, int, int]],
    n_workers: int,
    gather_s: float,
) -> None:
    async def play() -> World:
        world = World(len(histories), n_workers=n_workers, gather_s=gather_s)
        for n, history in enumerate(histories):
            world.write(n, *put_in_order(history))
        await world.open()
        for action in actions:
            await world.act(*action)
        await world.finish()
        return world

    assert asyncio.run(play()).ahead() == []


@settings(max_examples=150, deadline=None)
@given(actions=ACTIONS, n_partitions=st.integers(1, 4), n_workers=st.integers(1, 3))
def test_history_that_comes_while_others_learn_theirs_in_no_order_stops_nobody(
    actions: list[tuple[str, int, int]], n_partitions: int, n_workers: int
) -> None:
    async def play() -> None:
        world = World(n_partitions, n_workers=n_workers)
        await world.open()
        for what, a, b in actions:
            await world.act(what.removeprefix("more "), a, b)
        await world.finish()

    asyncio.run(play())


def test_two_years_in_one_partition_and_a_day_in_another_are_learned_in_the_order_of_their_days() -> None:
    day = 86_400_000

    async def play() -> World:
        world = World(3, n_workers=2)
        world.write(0, *[(n * day, n * day) for n in range(10)])
        world.write(1, *[(7 * day + n, 7 * day + n) for n in range(3)])
        await world.open()
        await world.finish()
        return world

    first = [(0, n) for n in range(7)]
    world = asyncio.run(play())
    assert world.learned[:7] == first and sorted(world.learned[7:11]) == [(0, 7), (1, 0), (1, 1), (1, 2)]
    assert world.learned[11:] == [(0, 8), (0, 9)]


def test_events_of_now_wait_for_nobody_and_nothing_is_told_of_them() -> None:
    async def play() -> None:
        world = World(3, n_workers=3)
        await world.workers[0].take_over(0)  # the others may be there or not
        for _ in range(20):
            world.write(0, None, None)
            await world.workers[0].deliver(0, 0)
            assert len(world.learned) == len(world.written)
            await world.workers[0].pace()
            world.clock.advance_ms(1_000)
        assert not world.control and not world.workers[0].board.waits

    asyncio.run(play())


def test_partitions_that_were_away_catch_up_together_and_those_at_the_present_wait_for_them() -> None:
    async def play() -> World:
        world = World(3, n_workers=3)
        await world.move(2, world.workers[2])
        for minute in range(10):
            world.write(0, None)
            world.write(1, None)
            if minute == 9:
                world.write(2, None)
                await world.workers[2].deliver(2, 0)  # at the present: it waits for nobody that it knows of
            world.clock.advance_ms(60_000)
        await world.open()
        await world.finish()
        return world

    learned = asyncio.run(play()).learned
    assert learned[0] == (2, 0)
    minutes = [offset // 2 for n, offset in learned[1:]]
    assert all(early <= late + 1 for early, late in combinations(minutes, 2)) and len(minutes) == 20


def test_a_partition_of_which_nobody_tells_is_left_out_until_it_is_heard_again() -> None:
    board = Board(2, SKEW, clock := ManualClock(), silent_s=45.0)
    gate = Gate(0, board, times, clock)
    records = [SourceRecord(n, b"%d %d" % (n * SKEW, n * SKEW), headers=(HISTORY,)) for n in range(9)]
    assert gate.admit(records) == 0 and board.waits == {0: [1]}
    clock.advance_ms(45_000)
    assert board.look() == [] and gate.admit(records) == 0
    clock.advance_ms(1)
    assert board.look() == [1] and gate.admit(records[:4]) == 4
    board.hear(1, Mark(history=4 * SKEW))
    assert gate.admit(records[4:]) == 2 and board.waits == {0: [1]}
