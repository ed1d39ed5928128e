"""One partition's store on Kafka: outputs, position and snapshots in one transactional producer's hand."""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, ProducerFenced

from stream.clock import WallClock
from stream.engine.shard import Output, Recovered, SourceRecord
from stream.errors import BrokerError, FencedError, FrameError, LogError, SnapshotError
from stream.frame import MALFORMED, Frame, pack, unpack
from stream.kafka.reader import PartitionReader, async_options
from stream.kafka.settings import KafkaSettings

__all__ = ["KafkaShardStore"]

_log = logging.getLogger(__name__)

_CHUNK = 800_000  # with key and frame below the megabyte that brokers take
_CHUNKS_A_TRANSACTION = 8
_MOST_CHUNKS = 1_000_000  # 800 GB; a number beyond it is not of ours
_KEPT = 2  # generations of snapshots
_TRANSACTION_MS = 60_000
_CLOSE_S = 5.0


_Count = Annotated[int, msgspec.Meta(ge=0, lt=2**62)]


class _Manifest(msgspec.Struct):
    """What a whole snapshot consists of, and the position that it was taken at."""

    chunks: Annotated[int, msgspec.Meta(ge=0, le=_MOST_CHUNKS)]
    bytes: _Count
    crc32: _Count
    position: _Count


@dataclass(slots=True)
class _Found:
    """What the state topic holds of this partition: pieces and manifests by generation."""

    position: int = -1
    manifests: dict[int, _Manifest] = field(default_factory=dict)
    chunks: dict[int, dict[int, bytes]] = field(default_factory=dict)


class KafkaShardStore:
    """A `stream.engine.shard.ShardStore` with one transactional producer.

    `transactional.id` is prefix, app, source and partition: whoever opens it fences whoever had it before,
    and ends what that one had left open, so that all of the partition's state can be read. Snapshots are cut
    into chunks that are written in transactions of their own; the last one carries the manifest and the
    position, and deletes generations older than the newest two, as well as pieces of what never got whole.

    Args:
        settings: where the brokers are, and the prefix.
        reader: for restoring and for holes; it may be shared by the partitions of a process.
        app: name of the step, such as ``join``.
        source: topic that is read; with `state` it has as many partitions.
        state: topic of position and snapshots.
        partition: its number.
        foreign: the source is a topic of others: its name has no prefix and its partitions another number,
            so several of them may share a partition of `state`. A step over it keeps nothing: only positions
            are stored, and where its owners have dropped records that were not read yet, it goes on behind.

    Example:
        See `tests/kafka/test_shard_store.py`.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        reader: PartitionReader,
        *,
        app: str,
        source: str,
        state: str,
        partition: int,
        foreign: bool = False,
    ) -> None:
        self._settings = settings
        self._reader = reader
        self._source = source if foreign else settings.topic(source)
        self._foreign = foreign
        self._state = settings.topic(state)
        self._partition = partition
        self._state_partition = partition % settings.partitions if foreign else partition
        self._owner = f"{source}/{partition}/" if foreign else f"{partition}/"
        self._place = f"{self._source}/{partition}"
        self._transactional_id = f"{settings.topic(app)}-{source}-{partition}"
        self._producer: AIOKafkaProducer | None = None
        self._failed: FencedError | BrokerError | None = None
        self._generations: dict[int, int] = {}  # each with the number of its chunks
        self._whole: list[int] = []

    async def recover(self) -> Recovered:
        """Fence the owner before this one, then read the state that is left.

        Raises:
            SnapshotError: there are snapshots and none can be read.
            BrokerError: the brokers do not answer.
        """
        # The id is not fenced before the producer has started; only then nothing more can come.
        producer = AIOKafkaProducer(
            transactional_id=self._transactional_id,
            transaction_timeout_ms=_TRANSACTION_MS,
            max_batch_size=1 << 18,
            max_request_size=8 << 20,
            **async_options(self._settings),
        )
        self._producer = producer
        try:
            await producer.start()
        except KafkaError as error:
            where = self._settings.bootstrap
            msg = f"{self._place} cannot be taken over: {error!r}; are the brokers at {where}?"
            raise BrokerError(msg) from error
        return await self.look()

    async def look(self) -> Recovered:
        """What `recover` gives, without becoming the owner: true as long as nobody else is.

        Raises:
            SnapshotError: there are snapshots and none can be read.
            BrokerError: the brokers do not answer.
        """
        found = await self._restore()
        self._generations = {
            generation: max(chunks, default=-1) + 1 for generation, chunks in found.chunks.items()
        }
        self._whole = sorted(found.manifests)
        if found.position < 0:
            start = await self._reader.start_of(self._source, self._partition)
            return Recovered(None, start, start)
        if self._foreign:
            return Recovered(None, found.position, found.position)
        frame, taken_at = self._newest(found)
        return Recovered(frame, taken_at, found.position)

    async def _restore(self) -> _Found:
        reader, found = self._reader, _Found()
        start = await reader.start_of(self._state, self._state_partition)
        # Not only what is decided: where the partition is shared, another's open transaction, which ends
        # when it is taken over, may stand before what our predecessor committed.
        stop = await reader.end_of(self._state, self._state_partition, decided=False)
        newest: dict[bytes, SourceRecord] = {}
        owner = self._owner.encode()
        async for records in reader.read(self._state, self._state_partition, start, stop):
            # Keys of others are passed over, whatever they may be.
            newest |= {
                record.key: record for record in records if record.key and record.key.startswith(owner)
            }
        for key, record in newest.items():
            try:
                self._note(found, key.removeprefix(owner).decode(), record.value)
            except (*MALFORMED, FrameError) as error:
                where = f"{self._state}/{self._state_partition}/{record.offset}"
                msg = (
                    f"{where}: not what a worker writes under {key!r} ({error}); who else may write there? "
                    "Anything but a position can be deleted by an empty record of the same key"
                )
                raise SnapshotError(msg) from error
        return found

    def _note(self, found: _Found, name: str, value: bytes) -> None:
        """Take in the newest record of one of our keys; an empty one says that it is gone."""
        generation, _, chunk = name.partition("/")
        if name == "position":
            found.position = msgspec.convert(unpack(value)["position"], _Count)
        elif value and chunk:
            found.chunks.setdefault(int(generation), {})[int(chunk)] = value
        elif value:
            found.manifests[int(generation)] = msgspec.convert(unpack(value), _Manifest)

    def _newest(self, found: _Found) -> tuple[Frame | None, int]:
        """The newest snapshot that is whole, and its position."""
        problems = []
        for generation in sorted(found.manifests, reverse=True):
            manifest, pieces = found.manifests[generation], found.chunks.get(generation, {})
            data = b"".join(pieces.get(n, b"") for n in range(manifest.chunks))
            if len(data) != manifest.bytes or zlib.crc32(data) != manifest.crc32:
                problems.append(
                    f"generation {generation} has {len(data)} of {manifest.bytes} bytes, or damaged ones"
                )
                continue
            try:
                return unpack(data), manifest.position
            except FrameError as error:
                problems.append(f"generation {generation}: {error}")
        if problems:
            msg = f"{self._state}/{self._state_partition}: no snapshot can be read: {'; '.join(problems)}"
            raise SnapshotError(msg)
        return None, 0

    async def read(self, start: int, stop: int) -> AsyncIterator[Sequence[SourceRecord]]:
        """The records of the source between two offsets."""
        if self._foreign and start < stop:
            start = await self._still_there(start)
        async for records in self._reader.read(self._source, self._partition, start, stop):
            yield records

    async def _still_there(self, start: int) -> int:
        first = await self._reader.start_of(self._source, self._partition)
        if first > start:
            _log.error(
                "%s: records from %d to %d were dropped by its owners before they were read; going on at %d",
                self._place, start, first - 1, first,
            )  # fmt: skip
        return max(start, first)

    async def end(self) -> int:
        """Where the source ends, as far as it is decided."""
        return await self._reader.end_of(self._source, self._partition)

    async def commit(self, outputs: Sequence[Output], position: int) -> None:
        """One transaction: the outputs and the position."""
        await self._transaction([*outputs, self._position(position)])

    async def save(self, frame: Frame, position: int) -> None:
        """Write a snapshot, piece by piece, then its manifest with the position."""
        if self._foreign:
            await self.commit((), position)
            return
        data = pack(frame)
        generation = max([*self._generations, *self._whole], default=-1) + 1
        pieces = [self._chunk(generation, n, data) for n in range(-(-len(data) // _CHUNK))]
        self._generations[generation] = len(pieces)
        for first in range(0, len(pieces), _CHUNKS_A_TRANSACTION):
            await self._transaction(pieces[first : first + _CHUNKS_A_TRANSACTION])
        manifest = {
            "generation": generation,
            "chunks": len(pieces),
            "bytes": len(data),
            "crc32": zlib.crc32(data),
            "position": position,
        }
        kept = [*self._whole[1 - _KEPT :], generation]
        gone = [old for old in (*self._generations, *self._whole) if old not in kept]
        last = [self._own(str(generation), pack(manifest)), self._position(position)]
        await self._transaction(
            [*last, *(record for old in dict.fromkeys(gone) for record in self._deleted(old))]
        )
        self._whole = kept
        self._generations = {old: n for old, n in self._generations.items() if old in kept}

    def _chunk(self, generation: int, n: int, data: bytes) -> Output:
        return self._own(f"{generation}/{n}", data[n * _CHUNK : (n + 1) * _CHUNK])

    def _deleted(self, generation: int) -> Iterator[Output]:
        yield self._own(str(generation), None)
        for n in range(self._generations.get(generation, 0)):
            yield self._own(f"{generation}/{n}", None)

    def _position(self, position: int) -> Output:
        return self._own("position", pack({"position": position}))

    def _own(self, name: str, value: bytes | None) -> Output:
        return Output("", self._state_partition, value, f"{self._owner}{name}".encode())

    async def _transaction(self, records: Sequence[Output]) -> None:
        producer = self._producer
        if producer is None:
            msg = f"{self._place} is not owned: recover it first"
            raise LogError(msg)
        # The client ends a transaction that failed in ways of its own: the next one would trip over it.
        if self._failed is not None:
            raise self._failed
        try:
            await producer.begin_transaction()
            await asyncio.gather(*(self._send(producer, *place) for place in self._by_place(records).items()))
            await producer.commit_transaction()
        except ProducerFenced as error:
            msg = f"another worker has taken {self._place} over; nothing of this one's was written since"
            self._failed = FencedError(msg)
            raise self._failed from error
        except KafkaError as error:
            msg = f"{self._place} could not be committed: {error!r}; the next owner takes it up where it was"
            self._failed = BrokerError(msg)
            raise self._failed from error

    def _by_place(self, records: Sequence[Output]) -> dict[tuple[str, int], list[Output]]:
        places: dict[tuple[str, int], list[Output]] = {}
        for record in records:
            places.setdefault((record.topic, record.partition), []).append(record)
        return places

    async def _send(
        self, producer: AIOKafkaProducer, place: tuple[str, int], records: Sequence[Output]
    ) -> None:
        """Write the records of one partition in order, packed here: sent singly each would cost ten times."""
        topic, partition = self._settings.topic(place[0]) if place[0] else self._state, place[1]
        # Not the client's own time, which follows a clock that is wrong.
        at = int(WallClock().now_ms())
        left = iter(records)
        record = next(left, None)
        while record is not None:
            batch = producer.create_batch()
            # A batch that is full refuses; its first record it always takes.
            while record is not None and batch.append(
                timestamp=at, key=record.key, value=record.value, headers=list(record.headers)
            ):
                record = next(left, None)
            batch.close()
            await (await producer.send_batch(batch, topic, partition=partition))

    async def close(self) -> None:
        """Let go of the producer; a transaction that is open ends when the next owner comes."""
        producer, self._producer = self._producer, None
        if producer is not None:
            try:
                await asyncio.wait_for(producer.stop(), _CLOSE_S)
            except (TimeoutError, KafkaError):
                return
