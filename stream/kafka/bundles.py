"""Events as records of `events`: one record a partition holds many, as a JSON array."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from stream.events import EVENT_SCHEMA, LoggedEvent
from stream.kafka.layout import MAX_RECORD_BYTES
from stream.kafka.partitioning import partition_of, routing_id

__all__ = ["ACCEPTED", "Bundle", "accepted_times", "bundled", "headers_of", "too_large"]

MAX_EVENT_BYTES = MAX_RECORD_BYTES - 1_000
"""Length of one event as JSON, at most; the rest of a record is its key, headers and brackets."""


ACCEPTED = "accepted"
"""Header of a record whose events were accepted elsewhere, and earlier than this record was written."""

_MOST_TIMES = 64
_MOST_HEADER = 2_048


class Bundle(NamedTuple):
    """One record: its partition, the id that routes its first event, and the JSON array.

    `accepted` is the value of the header `ACCEPTED`; empty where the record's own time says it.
    """

    partition: int
    key: str
    value: bytes
    accepted: bytes = b""


def bundled(
    events: Sequence[LoggedEvent], raw: Sequence[bytes], n_partitions: int, accepted: Sequence[int] = ()
) -> list[Bundle]:
    """Put each event with those of its partition, in order, into as few records as may be.

    `raw` holds the events as they were written, fields unknown to us included; `accepted` says when each was
    accepted (wall ms), where that is not when the record will be written.

    Raises:
        ValueError: an event is longer than `MAX_EVENT_BYTES`; ask `too_large` before.

    Example:
        >>> from stream.events import Forget
        >>> ann = b'{"type":"forget","user_id":"ann","ts":5}'
        >>> bundled([Forget(user_id="ann", ts=5)] * 2, [ann] * 2, 4)
        [Bundle(partition=2, key='ann', value=b'[{"type":"forget","user_id":"ann","ts":5},\
{"type":"forget","user_id":"ann","ts":5}]', accepted=b'')]
    """
    open_ones: dict[int, tuple[str, list[bytes], int, list[int]]] = {}
    done: list[Bundle] = []
    for n, (event, text) in enumerate(zip(events, raw, strict=True)):
        if (reason := too_large(text)) is not None:
            raise ValueError(reason)
        key = routing_id(event)
        partition = partition_of(key, n_partitions)
        first, texts, size, times = open_ones.get(partition, (key, [], 0, []))
        if size + len(text) > MAX_EVENT_BYTES:
            done.append(_closed(partition, first, texts, times))
            first, texts, size, times = key, [], 0, []
        texts.append(text)
        if accepted:
            times.append(accepted[n])
        open_ones[partition] = first, texts, size + len(text) + 1, times
    return done + [
        _closed(partition, first, texts, times) for partition, (first, texts, _, times) in open_ones.items()
    ]


def _times_header(times: Sequence[int]) -> bytes:
    """The first time and how much later the others are; of many only some, evenly spread over the events."""
    n = min(len(times), _MOST_TIMES)
    some = [times[k * len(times) // n] for k in range(n)]
    return b" ".join([b"%d" % some[0], *(b"%d" % (at - some[0]) for at in some[1:])]) if some else b""


def accepted_times(header: bytes | None, written_at: int, n_events: int) -> list[int]:
    """When each of a record's events was accepted, wall ms: as the header `ACCEPTED` says, or the record.

    A header that is none of ours is as if it were not there.

    Example:
        >>> accepted_times(b"1000 5", 1_100, 4), accepted_times(b"soon", 1_100, 1)
        ([1000, 1000, 1005, 1005], [1100])
    """
    parts = header.split(b" ") if header and len(header) <= _MOST_HEADER else []
    if not parts or not all(part.removeprefix(b"-").isdigit() and len(part) < 16 for part in parts):
        return [max(0, written_at)] * n_events
    first, *later = map(int, parts)
    times = [first, *(first + more for more in later)]
    return [max(0, min(times[k * len(times) // n_events], written_at)) for k in range(n_events)]


def headers_of(backfill: bool) -> list[tuple[str, bytes]]:
    """The headers of a record of `events`: the number of its schema, and whether it is history.

    Example:
        >>> headers_of(True)
        [('schema', b'1'), ('backfill', b'1')]
    """
    history = [("backfill", b"1")] if backfill else []
    return [("schema", str(EVENT_SCHEMA).encode()), *history]


def too_large(text: bytes) -> str | None:
    """The reason why an event does not fit into a record, or None.

    Example:
        >>> too_large(b"{}") is None
        True
    """
    if len(text) <= MAX_EVENT_BYTES:
        return None
    return f"event: expected at most {MAX_EVENT_BYTES} bytes of JSON for Kafka, got {len(text)}"


def _closed(partition: int, key: str, texts: Iterable[bytes], times: Sequence[int]) -> Bundle:
    return Bundle(partition, key, b"[" + b",".join(texts) + b"]", _times_header(times))
