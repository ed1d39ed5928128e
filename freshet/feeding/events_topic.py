"""The topic `events` read as one sequence, and its records as events with their own bytes."""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import NamedTuple

from stream.codec import decode_logged, raw_events
from stream.engine.shard import SourceRecord
from stream.errors import EventError, LogError
from stream.events import EVENT_SCHEMA, Decision, LoggedEvent, Tick
from stream.kafka.reader import PartitionReader
from stream.rules import broken_own_rule, broken_rule

__all__ = ["TopicBounds", "TopicRecord", "events_of", "merged"]


class TopicBounds(NamedTuple):
    """Offsets of one partition: the first to read and the first not to."""

    start: int
    stop: int


class TopicRecord(NamedTuple):
    """One record, its partition, and its time: that of the log, never before that of the record before it."""

    partition: int
    at: int
    record: SourceRecord


async def merged(
    reader: PartitionReader, topic: str, bounds: Mapping[int, TopicBounds]
) -> AsyncIterator[TopicRecord]:
    """The records of all partitions by time; those of one partition stay in their order.

    Holds a batch of each partition.

    Raises:
        LogError: records are gone, or nothing comes.
    """
    sources = {p: aiter(reader.read(topic, p, *bound)) for p, bound in sorted(bounds.items())}
    heap: list[tuple[int, int, int]] = []
    batches: dict[int, Sequence[SourceRecord]] = {}

    async def line_up(partition: int, place: int, at: int) -> None:
        if place == len(batches.get(partition, ())):
            try:
                batches[partition], place = await anext(sources[partition]), 0
            except StopAsyncIteration:
                return
        heapq.heappush(heap, (max(at, batches[partition][place].at), partition, place))

    for partition in sources:
        await line_up(partition, 0, 0)
    while heap:
        at, partition, place = heapq.heappop(heap)
        yield TopicRecord(partition, at, batches[partition][place])
        await line_up(partition, place + 1, at)


def events_of(
    taken: TopicRecord, refuse: Callable[[TopicRecord, str], None]
) -> list[tuple[LoggedEvent, bytes]]:
    """The events of a record and how each was written; ticks are left out, and `refuse` hears what is wrong.

    Raises:
        LogError: a newer program wrote the record.
    """
    record = taken.record
    stated = dict(record.headers).get("schema", str(EVENT_SCHEMA).encode())
    if stated.isdigit() and int(stated[:9]) > EVENT_SCHEMA:
        msg = (
            f"events/{taken.partition}/{record.offset} has event schema {stated.decode()}, "
            f"this program reads 1 to {EVENT_SCHEMA}; use the program that wrote it"
        )
        raise LogError(msg)
    try:
        texts = raw_events(record.value)
    except EventError as error:
        refuse(taken, str(error))
        return []
    found: list[tuple[LoggedEvent, bytes]] = []
    for text in texts:
        try:
            (event,) = decode_logged(b"[%b]" % text)
        except EventError as error:
            refuse(taken, str(error))
            continue
        if isinstance(event, Tick):
            continue
        reason = broken_own_rule(event) if isinstance(event, Decision) else broken_rule(event)
        if reason is None:
            found.append((event, text))
        else:
            refuse(taken, reason)
    return found
