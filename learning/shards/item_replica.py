"""The items' rows in a process that learns users: one reader of `item-vectors` for all its partitions."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from learners.part import Column, Columns
from learning.parts import Parts
from learning.rows.codec import PROGRESS_KEY
from learning.rows.item_batches import ItemBatch, ItemReader
from learning.shards.followed_shares import FollowedShares
from stream.engine.shard import Output, ShardStep, SourceRecord
from stream.errors import BrokerError
from stream.frame import Frame
from stream.kafka.reader import async_options, stop_consumer
from stream.kafka.settings import KafkaSettings

__all__ = ["FollowingStep", "ItemReplica", "TakesItems", "followed_sides"]

_log = logging.getLogger(__name__)

_POLL_MS = 200
_AT_ONCE = 2_000  # read in some ms, in which nothing else happens
_KEPT = 20_000  # rows that stay read for shards that have not asked yet; some MB
_MOST_SAID = 100


def followed_sides(parts: Parts) -> dict[str, tuple[Column, ...]]:
    """What users' owners follow of items: by part the columns that their replicas take over. These are the
    vectors, which they move along, and whatever features of lists of others come from.

    Example:
        >>> from learning.parts import build_parts
        >>> from learning.settings import LearningSettings
        >>> list(followed_sides(build_parts(LearningSettings())))
        ['vectors', 'counts', 'mf', 'cooccurrence', 'item_rates', 'popularity']
    """
    learners = parts.learners()
    scored = [name for name in learners if name.partition(":")[0] in parts.scored]
    names = dict.fromkeys(("vectors", "counts", "mf", *sorted(scored)))
    return {name: learners[name].spec.sides["item"] for name in names if "item" in learners[name].spec.sides}


class ItemReplica:
    """The newest row of every item, in the order in which they came; grows with the catalogue.

    Rows are read committed, from the beginning of the topic, and each once for all shards of the process;
    for one that comes later, or has not asked for long, they are read again. It is for one event loop.

    Args:
        settings: where the brokers are.
        sides: by part the columns of items that shards take over.
        shares: takes what such parts share, from `control`; nothing is followed there without it.

    Example:
        >>> from learning.rows.codec import ItemRow, encode_row
        >>> table = {"vectors": (Column("version", "<i8"),), "counts": (Column("touched_at", "<i8"),)}
        >>> replica = ItemReplica(KafkaSettings(), table)
        >>> replica.put([b"tea"], [encode_row(ItemRow(item_id="tea"))])
        {}
        >>> batches, seen = replica.since(0)
        >>> [batch.names for batch in batches], list(replica.since(seen)[0])
        ([['tea']], [])
    """

    def __init__(
        self,
        settings: KafkaSettings,
        sides: Mapping[str, tuple[Column, ...]],
        shares: FollowedShares | None = None,
    ) -> None:
        self._settings = settings
        self._topic, self._control = settings.topic("item-vectors"), settings.topic("control")
        self.shares = shares
        self._reader = ItemReader(sides)
        self._newest: dict[str, tuple[int, bytes]] = {}
        # What was read last, each with the number of the one before.
        self._batches: deque[tuple[int, ItemBatch]] = deque()
        self._n_kept = 0
        self._n = 0
        self._is_whole = asyncio.Event()
        self.unreadable = 0
        """Rows that could not be read, and were passed over."""
        self._said: set[str] = set()

    @property
    def size(self) -> int:
        """Items known."""
        return len(self._newest)

    async def whole(self) -> None:
        """Wait until everything that stood in the topic at the start has been read."""
        await self._is_whole.wait()

    def mark_whole(self) -> None:
        """All that stood in the topic at the start has been read."""
        self._is_whole.set()

    def since(self, seen: int) -> tuple[Iterable[ItemBatch], int]:
        """The rows that came after `seen` (0: all), oldest first, and what to ask with the next time.

        To be taken before anything else is put.
        """
        if seen >= self._n:
            return (), self._n
        if self._batches and self._batches[0][0] <= seen:
            return [batch for before, batch in self._batches if before >= seen], self._n
        return self._read_again(seen), self._n

    def _read_again(self, seen: int) -> Iterator[ItemBatch]:
        names: list[str] = []
        for name in reversed(self._newest):
            if self._newest[name][0] <= seen:
                break
            names.append(name)
        names.reverse()
        for low in range(0, len(names), _AT_ONCE):
            some = names[low : low + _AT_ONCE]
            values = [self._newest[name][1] for name in some]
            yield self._reader.read(some, [name.encode() for name in some], values)[0]

    def put(self, keys: Sequence[bytes], values: Sequence[bytes | None]) -> dict[int, Exception]:
        """Take rows (n,) of items, or their deletions (None), in order; why some of the n are passed over."""
        wrong: dict[int, Exception] = {}
        rows: list[tuple[int, str]] = []
        gone: dict[str, int] = {}
        for n, key in enumerate(keys):
            try:
                name = key.decode()
            except UnicodeDecodeError as error:
                wrong[n] = error
                continue
            if values[n] is None:
                gone[name] = n
            else:
                rows.append((n, name))
        # Rows before the deletion of their item are as if they had never been.
        rows = [(n, name) for n, name in rows if n > gone.get(name, -1)] if gone else rows
        if gone:
            self._let_go(gone)
        if rows:
            held = [values[n] or b"" for n, _ in rows]
            batch, unread = self._reader.read([name for _, name in rows], [keys[n] for n, _ in rows], held)
            wrong |= {rows[n][0]: error for n, error in unread.items()}
            self._keep(batch, {name: held[n] for n, (_, name) in enumerate(rows) if n not in unread})
        return wrong

    def _let_go(self, gone: Iterable[str]) -> None:
        """Forget items, and what was read of them: nobody takes over what has been deleted by now."""
        for name in gone:
            self._newest.pop(name, None)
        self._batches.clear()
        self._n_kept = 0

    def _keep(self, batch: ItemBatch, newest: Mapping[str, bytes]) -> None:
        if not batch.names:
            return
        before, self._n = self._n, self._n + 1
        for name in batch.names:
            self._newest.pop(name, None)  # it goes to the end
            self._newest[name] = self._n, newest[name]
        if not self._is_whole.is_set():
            return  # whoever opens later reads all of it again
        self._batches.append((before, batch))
        self._n_kept += len(batch.names)
        while self._n_kept > _KEPT:
            self._n_kept -= len(self._batches.popleft()[1].names)

    async def follow(self) -> None:
        """Read for ever; ends by cancellation.

        Raises:
            BrokerError: the topic cannot be read.
        """
        consumer = AIOKafkaConsumer(
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=_POLL_MS,
            **async_options(self._settings),
        )
        try:
            await consumer.start()
            await self._read(consumer)
        except KafkaError as error:
            msg = (
                f"{self._topic} cannot be followed: {error!r}; are its brokers at {self._settings.bootstrap}?"
            )
            raise BrokerError(msg) from error
        finally:
            await stop_consumer(consumer)

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        places = [TopicPartition(self._topic, p) for p in range(self._settings.partitions)]
        if self.shares is not None:
            places.append(TopicPartition(self._control, 0))
        consumer.assign(places)
        for place in places:
            # Never seek_to_beginning: it races with the reset of a new assignment and then reads nothing.
            consumer.seek(place, 0)
        missing: dict[Any, int] = {
            place: end for place, end in (await consumer.end_offsets(places)).items() if end
        }
        while True:
            for place in [place for place, end in missing.items() if await consumer.position(place) >= end]:
                del missing[place]
            if not missing:
                self.mark_whole()
            found = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_AT_ONCE)
            for record in found.pop(TopicPartition(self._control, 0), ()):
                self._take_share(record)
            # An item's rows are all in one partition.
            self._take([record for records in found.values() for record in records])

    def _take_share(self, record: Any) -> None:
        if self.shares is not None and record.key is not None:
            self.shares.put(record.key.decode(errors="replace"), record.value)

    def _take(self, records: Sequence[Any]) -> None:
        rows = [record for record in records if record.key is not None and record.key != PROGRESS_KEY]
        if not rows:
            return
        wrong = self.put([row.key for row in rows], [row.value for row in rows])
        self.unreadable += len(wrong)
        for n, error in wrong.items():
            self._tell(rows[n], error)

    def _tell(self, record: Any, error: Exception) -> None:
        """Once for each reason: of other settings, all rows of before are."""
        why = str(error)
        if why not in self._said and len(self._said) < _MOST_SAID:
            self._said.add(why)
            _log.error("%s/%d/%d is passed over: %s", self._topic, record.partition, record.offset, why)


class TakesItems(ShardStep, Protocol):
    """A step that reads what others own of items."""

    def apply_items(self, items: ItemBatch) -> None:
        """Take newer rows."""

    def apply_shares(self, shares: Mapping[str, Columns]) -> None:
        """Take newer columns that rows share, by part."""


class FollowingStep:
    """A step with the replica's rows handed to it before each batch.

    Args:
        step: learns users.
        replica: the process's.
    """

    def __init__(self, step: TakesItems, replica: ItemReplica) -> None:
        self._step, self._replica = step, replica
        self._seen = self._seen_shares = 0

    def on_records(self, records: Sequence[SourceRecord]) -> None:
        """As the step, with the newest rows."""
        batches, self._seen = self._replica.since(self._seen)
        for batch in batches:
            self._step.apply_items(batch)
        if self._replica.shares is not None:
            shares, self._seen_shares = self._replica.shares.since(self._seen_shares)
            if shares:
                self._step.apply_shares(shares)
        self._step.on_records(records)

    def take(self) -> list[Output]:
        """As the step."""
        return self._step.take()

    def snapshot(self) -> Frame:
        """As the step."""
        return self._step.snapshot()

    def restore(self, frame: Frame) -> None:
        """As the step, which then is behind the replica again."""
        self._step.restore(frame)
        self._seen = self._seen_shares = 0
