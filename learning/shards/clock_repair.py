"""Mends topics in which times are stored that have not come: a worker's clock was wrong when they were.

What is wrong begins in JOIN: its ticks go on to the owners of users, and from there to items and servers. So
the partition's joiner is put back to the present where its commits have come to, learns what waits, and then
says in `feedback` that no later time was true (`Ticked.rewinds`). Workers and servers follow that in order,
like everything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

from learning.errors import StartError
from learning.settings import LearningSettings
from learning.shards.join import JoinShard, join_shard
from learning.shards.source_marks import SourceMarks
from stream.block_codec import decode_segment
from stream.clock import Clock
from stream.codec import decode_logged
from stream.engine.shard import Shard, SourceRecord
from stream.errors import EventError, FrameError
from stream.events import Tick
from stream.item_blocks import Ticked
from stream.kafka.groups import live_members
from stream.kafka.reader import PartitionReader
from stream.kafka.shard_store import KafkaShardStore
from stream.steady import AHEAD_MS

__all__ = ["Ahead", "marks_ahead", "only_future_ticks", "refuse_running", "repair_clock", "times_ahead"]


class Ahead(NamedTuple):
    """A time that has not come, by `ahead_ms`; kept in a partition of a step, of a `source` in `events`."""

    step: str
    partition: int
    what: str
    ahead_ms: int
    source: int


def refuse_running(settings: LearningSettings) -> None:
    """See that nobody works.

    Raises:
        StartError: somebody does, or did until a moment ago.
        BrokerError: no broker answers.
    """
    kafka = settings.kafka
    steps = ["join", "users", "items", "train", *(f"source-{source.topic}" for source in kafka.sources)]
    members = live_members(kafka, dict.fromkeys(kafka.topic(step) for step in steps))
    if members:
        msg = (
            f"expected no `freshet work` to run, found {'; '.join(members)}; stop them and try again (one "
            f"that was killed counts for {settings.work.session_s:g} s more)"
        )
        raise StartError(msg)


async def times_ahead(settings: LearningSettings, clock: Clock) -> list[Ahead]:
    """What is more than five minutes ahead of `clock`, with what waits to be learned; changes nothing.

    Raises:
        LogError, SnapshotError: a topic cannot be read.
    """
    found: list[Ahead] = []
    reader = PartitionReader(settings.kafka, clock)
    now = int(clock.now_ms())
    try:
        for partition in range(settings.kafka.partitions):
            found += await _join_ahead(settings, reader, partition, now)
        for partition in range(settings.kafka.partitions):
            found += await _users_ahead(settings, reader, partition, now)
    finally:
        await reader.close()
    return found


async def _join_ahead(
    settings: LearningSettings, reader: PartitionReader, partition: int, now: int
) -> list[Ahead]:
    store, step = _store(settings, reader, partition), join_shard(settings, partition)
    frame, taken_at, _ = await store.look()
    if frame is not None:
        step.restore(frame)
    async for records in store.read(taken_at, await store.end()):
        step.on_records(records)
        step.take()
    return [
        Ahead("join", partition, what, at - now, partition) for what, at in step.ahead(now + AHEAD_MS).items()
    ]


async def _users_ahead(
    settings: LearningSettings, reader: PartitionReader, partition: int, now: int
) -> list[Ahead]:
    store = KafkaShardStore(
        settings.kafka, reader, app="users", source="feedback", state="state-users", partition=partition
    )
    frame, taken_at, _ = await store.look()
    marks = SourceMarks(settings.kafka.partitions)
    if frame is not None:
        marks.restore(frame["marks"])
    async for records in store.read(taken_at, await store.end()):
        _follow(marks, records)
    latest = now + AHEAD_MS
    return [
        Ahead("users", partition, f"time of events/{source}", at - now, source)
        for source, at in marks_ahead(marks, latest, by_event=settings.clock == "event").items()
    ]


def _follow(marks: SourceMarks, records: Iterable[SourceRecord]) -> None:
    for record in records:
        if b"tick" not in record.value:
            continue
        try:
            tick = decode_segment(record.value)
        except FrameError:
            continue  # a dead letter of whoever learns it
        if isinstance(tick, Ticked) and 0 <= tick.source < marks.n_sources:
            (marks.rewind if tick.rewinds else marks.put)(tick)


def marks_ahead(marks: SourceMarks, latest_ms: int, *, by_event: bool = False) -> dict[int, int]:
    """The sources that said a time later than `latest_ms`, and which; `by_event`, event time may be any.

    Example:
        >>> marks = SourceMarks(2)
        >>> _ = marks.put(Ticked(0, 50, 40)), marks.put(Ticked(1, 9_000, 8_000))
        >>> marks_ahead(marks, 100)
        {1: 9000}
    """
    newest = {
        source: ts if by_event else max(ts, watermark)
        for source, (ts, watermark) in enumerate(marks.snapshot())
    }
    return {source: at for source, at in newest.items() if at > latest_ms}


async def repair_clock(settings: LearningSettings, clock: Clock, found: Sequence[Ahead]) -> None:
    """Let time begin again at the present in the partitions of `events` that `found` names.

    What is accepted and not joined yet is joined. Slates and clicks that are stamped more than five minutes
    ahead are given up. Whoever owned one of the partitions is fenced.

    Raises:
        LogError, SnapshotError: a topic cannot be read or written; what was mended before stays mended.
    """
    reader = PartitionReader(settings.kafka, clock)
    # Before any end is looked at: what is acknowledged at this time is there then.
    now = int(clock.now_ms())
    try:
        for partition in sorted({ahead.source for ahead in found}):
            await _repair(settings, clock, reader, partition, now)
    finally:
        await reader.close()


async def _repair(
    settings: LearningSettings, clock: Clock, reader: PartitionReader, partition: int, now: int
) -> None:
    store, step = _store(settings, reader, partition), join_shard(settings, partition)
    shard, latest = Shard(step, store, clock, settings.shard), now + AHEAD_MS
    try:
        await shard.open()
        # Lasting before what waits is learned: a take-over in between must run that again from here.
        await shard.amend(lambda: step.rewind(now, latest))
        await _learn_what_waits(shard, store, latest)
        # Both of the snapshots that are kept are of true times then.
        await shard.amend(lambda: _say(step, now, latest))
    finally:
        await shard.close()


def _say(step: JoinShard, now: int, latest: int) -> None:
    step.rewind(now, latest)  # history may have been stamped while the clock was wrong
    step.tell_rewound(now)


async def _learn_what_waits(shard: Shard, store: KafkaShardStore, latest: int) -> None:
    """Take the rest of the source without the ticks that are ahead: they would make it all late."""
    async for records in store.read(shard.position, await store.end()):
        for is_ahead, run in groupby(records, lambda record: only_future_ticks(record, latest)):
            some = list(run)
            if is_ahead:
                await shard.pass_over(some[-1].offset + 1)
            else:
                # All was read: nothing lies between them.
                await shard.deliver([record._replace(since=0) for record in some])


def only_future_ticks(record: SourceRecord, latest_ms: int) -> bool:
    """Whether a record of `events` says that it is later than `latest_ms`, and nothing else.

    Example:
        >>> only_future_ticks(SourceRecord(0, b'[{"type": "tick", "ts": 1700000000000}]'), 1_600_000_000_000)
        True
    """
    if b"tick" not in record.value:
        return False
    try:
        events = decode_logged(record.value)
    except EventError:
        return False
    return bool(events) and all(isinstance(event, Tick) and event.ts > latest_ms for event in events)


def _store(settings: LearningSettings, reader: PartitionReader, partition: int) -> KafkaShardStore:
    return KafkaShardStore(
        settings.kafka, reader, app="join", source="events", state="state-join", partition=partition
    )
