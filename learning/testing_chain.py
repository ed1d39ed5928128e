"""JOIN, LEARN USERS, LEARN ITEMS and TRAIN behind each other in memory: Kafka's steps without Kafka."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from zlib import crc32

from learning.rows.codec import PROGRESS_KEY
from learning.rows.item_batches import ItemReader
from learning.settings import LearningSettings
from learning.shards.followed_shares import FollowedShares
from learning.shards.item_replica import followed_sides
from learning.shards.items import ItemsShard
from learning.shards.join import JoinShard
from learning.shards.train import TrainShard
from learning.shards.users import UsersShard
from stream.codec import encode_events
from stream.engine.shard import Output, ShardStep, SourceRecord
from stream.events import LoggedEvent, Tick
from stream.frame import pack, unpack
from stream.kafka.partitioning import routing_id

__all__ = ["Chain"]

_BETWEEN = ("feedback", "item-feedback", "training", "dead-letters")


class Chain:
    """All shards of `n` partitions, and what their topics hold.

    Args:
        settings: of what learns.
        n: partitions of each topic.
        lag: rounds that a published item row takes to the users' owners; 0: it is there before the next.

    Example:
        >>> from stream.events import Click
        >>> chain = Chain(LearningSettings(), 2)
        >>> chain.feed([Click(ts=1_700_000_000_000, user_id="ann", item_id="tea")])
        >>> sum(int(shard.parts.items.clicks.sum()) for shard in chain.items)
        1
    """

    def __init__(self, settings: LearningSettings, n: int, *, lag: int = 0) -> None:
        self.settings, self.n, self.lag = settings, n, lag
        self.topics: dict[tuple[str, int], list[SourceRecord]] = defaultdict(list)
        """Records by topic and partition."""
        self.rows: dict[tuple[str, bytes], bytes | None] = {}
        """The newest value of each key of a compacted topic."""
        self.outputs: list[Output] = []
        """All that was written into compacted topics, in order."""
        self._read: dict[tuple[str, int], int] = defaultdict(int)
        self._travelling: list[dict[bytes, bytes]] = []
        self._start()

    def _start(self) -> None:
        settings, n = self.settings, self.n
        clock, tick_ms = settings.clock, settings.engine.tick_ms
        self.joins = [
            JoinShard(e, self.home, settings.join, mode=clock, tick_ms=tick_ms, n_partitions=n)
            for e in range(n)
        ]
        self.users = [UsersShard(p, self.home, settings, n) for p in range(n)]
        self.items = [ItemsShard(q, self.home, settings, n) for q in range(n)]
        self.train = TrainShard(0, settings, n)
        self._reader = ItemReader(followed_sides(self.users[0].parts))
        self._shares, self._seen = FollowedShares(self.users[0].parts), 0
        for (topic, key), value in self.rows.items():
            if topic == "control":
                self._shares.put(key.decode(), value)

    def restart(self) -> None:
        """Let other processes take over all shards, from their snapshots."""
        frames = [unpack(pack(shard.snapshot())) for shard in self._shards()]
        self._start()
        for shard, frame in zip(self._shards(), frames, strict=True):
            shard.restore(frame)

    def _shards(self) -> list[ShardStep]:
        return [*self.joins, *self.users, *self.items, self.train]

    def home(self, name: str) -> int:
        """The partition of an id."""
        return crc32(name.encode()) % self.n

    def feed(self, events: Sequence[LoggedEvent]) -> None:
        """Write events where they belong, ticks everywhere, and let all shards learn what there is."""
        by_home: dict[int, list[LoggedEvent]] = defaultdict(list)
        for event in events:
            for partition in range(self.n) if isinstance(event, Tick) else (self.home(routing_id(event)),):
                by_home[partition].append(event)
        for partition, mine in by_home.items():
            self._put("events", partition, encode_events(mine), None)
        self.settle()

    def settle(self) -> None:
        """Let every shard read on to the end of its partition, one step after the other."""
        steps: Mapping[str, Sequence[ShardStep]] = {
            "events": self.joins,
            "feedback": self.users,
            "item-feedback": self.items,
            "training": [self.train],
        }
        for topic, shards in steps.items():
            for partition, shard in enumerate(shards):
                self._run(topic, partition, shard)
        if len(self._travelling) > self.lag:
            arrived = self._reader.read_values(self._travelling.pop(0))
            for users in self.users:
                users.apply_items(arrived)
            shares, self._seen = self._shares.since(self._seen)
            for users in self.users:
                users.apply_shares(shares)

    def _run(self, topic: str, partition: int, shard: ShardStep) -> None:
        records, at = self.topics[topic, partition], self._read[topic, partition]
        shard.on_records(records[at:])
        self._read[topic, partition] = len(records)
        arriving: dict[bytes, bytes] = {}
        for output in shard.take():
            self._write(output, arriving)
        if topic == "item-feedback":
            if partition == 0:
                self._travelling.append({})
            self._travelling[-1] |= arriving

    def _write(self, output: Output, arriving: dict[bytes, bytes]) -> None:
        if output.topic in _BETWEEN:
            self._put(output.topic, output.partition, output.value or b"", output.key)
            return
        self.outputs.append(output)
        self.rows[output.topic, output.key or PROGRESS_KEY] = output.value
        if output.topic == "control" and output.key:
            self._shares.put(output.key.decode(), output.value)
        if output.topic == "item-vectors" and output.value is not None and output.key:
            arriving[output.key] = output.value

    def _put(self, topic: str, partition: int, value: bytes, key: bytes | None) -> None:
        records = self.topics[topic, partition]
        records.append(SourceRecord(len(records), value, key))
