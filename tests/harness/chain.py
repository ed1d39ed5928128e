"""JOIN, LEARN USERS and LEARN ITEMS behind each other in memory: Kafka's steps without Kafka."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from zlib import crc32

import numpy as np

from freshet.config import Settings
from learning.rows.codec import PROGRESS_KEY, ItemRow, decode_item_row
from learning.shards.items import ItemsShard
from learning.shards.join import JoinShard
from learning.shards.users import UsersShard
from stream.codec import encode_events
from stream.engine.shard import Output, ShardStep, SourceRecord
from stream.events import Click, Decision, ItemEvent, LoggedEvent, Tick
from stream.kafka.partitioning import routing_id

__all__ = ["Chain", "batches", "logged_world"]


class Chain:
    """All shards of `n` partitions, and what their topics hold.

    Args:
        settings: of the whole system.
        n: partitions of each topic.
        lag: rounds that a published item row takes to the users' owners; 0: it is there before the next.

    Example:
        >>> chain = Chain(Settings(), 2)
        >>> chain.feed([Click(ts=1_700_000_000_000, user_id="ann", item_id="tea")])
        >>> sum(int(shard.parts.items.clicks.sum()) for shard in chain.items)
        1
    """

    def __init__(self, settings: Settings, n: int, *, lag: int = 0) -> None:
        self.n, self.lag = n, lag
        clock, tick_ms = settings.clock, settings.engine.tick_ms
        self.joins = [
            JoinShard(e, self.home, settings.join, mode=clock, tick_ms=tick_ms, n_partitions=n)
            for e in range(n)
        ]
        self.users = [UsersShard(p, self.home, settings, n) for p in range(n)]
        self.items = [ItemsShard(q, self.home, settings, n) for q in range(n)]
        self.topics: dict[tuple[str, int], list[SourceRecord]] = defaultdict(list)
        """Records by topic and partition."""
        self.rows: dict[tuple[str, bytes], bytes | None] = {}
        """The newest value of each key of a compacted topic."""
        self.published: list[ItemRow] = []
        """All item rows, in the order in which they were written."""
        self._read: dict[tuple[str, int], int] = defaultdict(int)
        self._travelling: list[list[ItemRow]] = []

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
        }
        for topic, shards in steps.items():
            for partition, shard in enumerate(shards):
                self._run(topic, partition, shard)
        if len(self._travelling) > self.lag:
            arrived = self._travelling.pop(0)
            for users in self.users:
                users.apply_items(arrived)

    def _run(self, topic: str, partition: int, shard: ShardStep) -> None:
        records, at = self.topics[topic, partition], self._read[topic, partition]
        shard.on_records(records[at:])
        self._read[topic, partition] = len(records)
        arriving: list[ItemRow] = []
        for output in shard.take():
            self._write(output, arriving)
        if topic == "item-feedback":
            if partition == 0:
                self._travelling.append([])
            self._travelling[-1] += arriving

    def _write(self, output: Output, arriving: list[ItemRow]) -> None:
        if output.topic in ("feedback", "item-feedback", "dead-letters"):
            self._put(output.topic, output.partition, output.value or b"", output.key)
            return
        self.rows[output.topic, output.key or PROGRESS_KEY] = output.value
        if output.topic == "item-vectors" and output.value is not None and output.key:
            arriving.append(decode_item_row(output.value))
            self.published.append(arriving[-1])

    def _put(self, topic: str, partition: int, value: bytes, key: bytes | None) -> None:
        records = self.topics[topic, partition]
        records.append(SourceRecord(len(records), value, key))


def logged_world(
    seed: int,
    *,
    n_users: int = 2_000,
    n_items: int = 200,
    n_clusters: int = 8,
    n_features: int = 0,
    tick_ms: int = 1_000,
) -> Iterator[LoggedEvent]:
    """An endless log: items, decisions with the contexts they used, clicks on them, organic clicks, ticks.

    Users take turns, so that what one of them does lies far apart in the log; whatever the number of
    partitions, it is learned in the same order.

    Example:
        >>> from itertools import islice
        >>> [type(event).__name__ for event in islice(logged_world(0, n_items=1), 3)]
        ['ItemEvent', 'Decision', 'Click']
    """
    rng = np.random.default_rng(seed)
    items = [f"i{n}" for n in range(n_items)]
    number, now = 0, 1_700_000_001_000
    yield from (ItemEvent(item_id=name, ts=now, group=f"g{n % 5}") for n, name in enumerate(items))
    turns = rng.permutation(n_users)
    popular = rng.dirichlet(np.full(n_items, 0.5)) * 0.7 + 0.3 / n_items
    while True:
        user, now = f"u{turns[number % n_users]}", now + 20
        size = min(10, n_items)
        shown = [items[n] for n in rng.choice(n_items, size, replace=False, p=popular)]
        clusters = rng.choice(n_clusters, 3, replace=False).tolist()
        features = rng.random((size, n_features)).astype("<f4").tobytes()
        yield Decision(
            request_id=f"r{number}", ts=now, user_id=user, items=shown, propensities=[0.5] * size,
            policy="diag_lin_ucb", clusters=clusters, weights=[0.5, 0.375, 0.125], features=features,
            explored=[number % size],
        )  # fmt: skip
        if number % 4 == 0:
            clicked = shown[int(rng.integers(size))]
            yield Click(ts=now + 7, request_id=f"r{number}", user_id=user, item_id=clicked)
        if number % 3 == 0:
            organic = items[int(rng.choice(n_items, p=popular))]
            other = f"u{turns[(number + n_users // 2) % n_users]}"
            yield Click(ts=now + 8, user_id=other, item_id=organic, event_id=f"e{number}")
        if now % tick_ms == 0:
            yield Tick(ts=now + 10)
        number += 1


def batches(events: Iterable[LoggedEvent], n: int) -> Iterator[list[LoggedEvent]]:
    """Lists of at most `n` events; a tick ends one."""
    batch: list[LoggedEvent] = []
    for event in events:
        batch.append(event)
        if len(batch) >= n or isinstance(event, Tick):
            yield batch
            batch = []
    if batch:
        yield batch
