"""The transactional store against a real broker: its contract, aborted records, snapshots."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from kafka import KafkaAdminClient
from kafka import TopicPartition as PlainPartition

from stream.clock import ManualClock, WallClock
from stream.engine.shard import Output, Recovered, Shard, ShardStore, SourceRecord
from stream.errors import LogError, SnapshotError
from stream.frame import pack, unpack
from stream.kafka import KafkaSettings
from stream.kafka.connection import admin_client
from stream.kafka.reader import PartitionReader, async_options
from stream.kafka.shard_store import KafkaShardStore
from stream.testing_shard import FoldingStep, ShardStoreContract

pytestmark = pytest.mark.kafka

TOPICS = ("events", "feedback", "item-feedback", "catalogue", "state-join")


def create(settings: KafkaSettings) -> None:
    with admin_client(settings) as admin:
        wanted = {settings.topic(name): {"num_partitions": 2} for name in TOPICS}
        admin.create_topics(wanted, wait_for_metadata=True)


class Place:
    """Partition 0 of topics on a broker, for one test."""

    def __init__(self, settings: KafkaSettings) -> None:
        self.settings = settings
        self.reader = PartitionReader(settings, WallClock())
        create(settings)

    def store(self) -> ShardStore:
        return KafkaShardStore(
            self.settings, self.reader, app="join", source="events", state="state-join", partition=0
        )

    @asynccontextmanager
    async def producer(self, **more: object) -> AsyncIterator[AIOKafkaProducer]:
        producer = AIOKafkaProducer(**async_options(self.settings), **more)
        await producer.start()
        try:
            yield producer
        finally:
            await producer.stop()

    async def append(self, value: bytes) -> SourceRecord:
        async with self.producer() as producer:
            sent = await producer.send_and_wait(self.settings.topic("events"), value, partition=0)
        return SourceRecord(sent.offset, value)

    async def records(self, topic: str) -> list[SourceRecord]:
        name = self.settings.topic(topic)
        stop = await self.decided(name)
        return [record async for batch in self.reader.read(name, 0, 0, stop) for record in batch]

    async def decided(self, name: str) -> int:
        """The end once all before it is decided: a commit is answered before its markers stand."""
        tp = TopicPartition(name, 0)
        consumer = AIOKafkaConsumer(**async_options(self.settings))
        await consumer.start()
        try:
            while (await consumer.end_offsets([tp]))[tp] > (stop := await self.reader.end_of(name, 0)):
                await asyncio.sleep(0.01)
        finally:
            await consumer.stop()
        return stop

    async def outputs(self, topic: str) -> list[tuple[bytes | None, bytes | None]]:
        # A deleted key is read as one with no bytes.
        return [(record.key, record.value or None) for record in await self.records(topic)]


@pytest.fixture
def partition(topics: KafkaSettings) -> Place:
    return Place(topics)


class TestKafkaStore(ShardStoreContract):
    @pytest.fixture
    def partition(self, topics: KafkaSettings) -> Place:
        self.place = Place(topics)
        return self.place

    def run(self, test: Callable[[], Awaitable[None]]) -> None:
        async def whole() -> None:
            try:
                await test()
            finally:
                await self.place.reader.close()

        asyncio.run(whole())


def play(place: Place, test: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        try:
            await test()
        finally:
            await place.reader.close()

    asyncio.run(whole())


def test_records_of_an_aborted_transaction_are_never_seen(partition: Place) -> None:
    events = partition.settings.topic("events")

    async def test() -> None:
        async with partition.producer(transactional_id=partition.settings.topic("test")) as producer:
            for value, commits in ((b"yes", True), (b"no", False), (b"again", True)):
                await producer.begin_transaction()
                await producer.send_and_wait(events, value, partition=0)
                await (producer.commit_transaction() if commits else producer.abort_transaction())
        assert [record.value for record in await partition.records("events")] == [b"yes", b"again"]

    play(partition, test)


def test_what_a_dead_owner_left_open_never_happened(partition: Place) -> None:
    async def test() -> None:
        dead, heir = partition.store(), partition.store()
        await dead.recover()
        producer = dead._producer  # type: ignore[attr-defined]
        await producer.begin_transaction()
        for topic in ("feedback", "state-join"):
            await producer.send_and_wait(partition.settings.topic(topic), b"half", partition=0)
        assert await heir.recover() == Recovered(None, 0, 0)
        await heir.commit([Output("feedback", 0, b"whole")], 1)
        assert [value for _, value in await partition.outputs("feedback")] == [b"whole"]
        await heir.close()
        await dead.close()

    play(partition, test)


async def delivered(place: Place, keep: Callable[[int], bool], n: int = 30) -> list[SourceRecord]:
    async with place.producer() as producer:
        for number in range(n):
            await producer.send(place.settings.topic("events"), b"%d" % number, partition=0)
    return [record for record in await place.records("events") if keep(record.offset)]


def test_holes_are_filled_and_a_take_over_comes_to_the_same_state(partition: Place) -> None:
    plain, step = FoldingStep(), FoldingStep()

    async def test() -> None:
        clock = ManualClock()
        first = Shard(FoldingStep(), partition.store(), clock)
        await first.open()
        some = await delivered(partition, lambda offset: offset % 7 > 1 and offset < 25)
        await first.deliver(some[:10])
        second = Shard(step, partition.store(), clock)
        await second.open()
        assert second.figures.run_again == first.committed
        await second.deliver(some)
        for _ in range(2):  # the first look notes where the end is, the second takes what never came
            clock.advance_ms(1_000)
            await second.idle()
        plain.on_records(await partition.records("events"))
        assert second.position == 30 and second.figures.holes > 0
        for shard in (first, second):
            await shard.close()

    play(partition, test)
    assert (plain.count, pack(step.snapshot())) == (30, pack(plain.snapshot()))
    expected = [output.value for output in plain.take()]
    written = written_by(partition)
    assert sorted(map(bytes, written)) == sorted(value or b"" for value in expected)


def written_by(place: Place) -> Sequence[bytes]:
    values: list[bytes] = []

    async def read() -> None:
        for topic in ("feedback", "item-feedback"):
            values.extend(record.value for record in await place.records(topic))

    play(place, read)
    return values


def test_a_damaged_snapshot_falls_back_to_the_one_before_it(partition: Place) -> None:
    async def test() -> None:
        store = partition.store()
        await store.recover()
        for position in (3, 5):
            await store.save({"position": position}, position)
        await store.close()
        await damage(partition, b"0/1/0")
        again = partition.store()
        assert await again.recover() == Recovered({"position": 3}, 3, 5)
        await again.close()
        await damage(partition, b"0/0/0")
        last = partition.store()
        with pytest.raises(SnapshotError, match="generation 1"):
            await last.recover()
        await last.close()

    play(partition, test)


def test_foreign_records_in_a_state_topic_are_passed_over_or_named(partition: Place) -> None:
    async def test() -> None:
        store = partition.store()
        await store.recover()
        await store.save({"count": 3}, 3)
        await store.close()
        for key in (b"\xff\xfe", b"00/position", b"junk"):
            await damage(partition, key)
        again = partition.store()
        assert await again.recover() == Recovered({"count": 3}, 3, 3)
        await again.close()
        await damage(partition, b"0/junk")
        last = partition.store()
        with pytest.raises(
            SnapshotError, match=r"state-join/0/\d+: not what a worker writes under b'0/junk'"
        ):
            await last.recover()
        await last.close()

    play(partition, test)


async def damage(place: Place, key: bytes) -> None:
    async with place.producer() as producer:
        await producer.send_and_wait(place.settings.topic("state-join"), b"damaged", key, partition=0)


def test_old_generations_and_pieces_of_unfinished_ones_are_deleted(partition: Place) -> None:
    async def test() -> None:
        await damage(partition, b"0/0/0")
        store = partition.store()
        await store.recover()
        for position in range(4):
            await store.save({"position": position}, position)
        await store.close()
        left: dict[bytes, bytes] = {}
        for record in await partition.records("state-join"):
            left[record.key or b""] = record.value
        kept = {key for key, value in left.items() if value}
        assert kept == {b"0/position", b"0/3", b"0/3/0", b"0/4", b"0/4/0"}
        assert unpack(left[b"0/position"]) == {"position": 3}

    play(partition, test)


def test_records_that_were_deleted_too_early_are_an_error_that_says_what_to_do(partition: Place) -> None:
    async def test() -> None:
        await delivered(partition, bool)
        admin = KafkaAdminClient(bootstrap_servers=partition.settings.bootstrap)
        admin.delete_records({PlainPartition(partition.settings.topic("events"), 0): 10})
        admin.close()
        store = partition.store()
        assert await store.recover() == Recovered(None, 10, 10)
        with pytest.raises(LogError, match="deleted before they were taken"):
            _ = [batch async for batch in store.read(4, 20)]
        await store.close()

    play(partition, test)
