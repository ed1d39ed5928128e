"""Events as records of `events`: one record a partition holds many, as a JSON array."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from stream.events import EVENT_SCHEMA, LoggedEvent
from stream.kafka.layout import MAX_RECORD_BYTES
from stream.kafka.partitioning import partition_of, routing_id

__all__ = ["Bundle", "bundled", "headers_of", "too_large"]

MAX_EVENT_BYTES = MAX_RECORD_BYTES - 1_000
"""Length of one event as JSON, at most; the rest of a record is its key, headers and brackets."""


class Bundle(NamedTuple):
    """One record: its partition, the id that routes its first event, and the JSON array."""

    partition: int
    key: str
    value: bytes


def bundled(events: Sequence[LoggedEvent], raw: Sequence[bytes], n_partitions: int) -> list[Bundle]:
    """Put each event with those of its partition, in order, into as few records as may be.

    `raw` holds the events as they were written, fields unknown to us included.

    Raises:
        ValueError: an event is longer than `MAX_EVENT_BYTES`; ask `too_large` before.

    Example:
        >>> from stream.events import Forget
        >>> ann = b'{"type":"forget","user_id":"ann","ts":5}'
        >>> bundled([Forget(user_id="ann", ts=5)] * 2, [ann] * 2, 4)
        [Bundle(partition=2, key='ann', value=b'[{"type":"forget","user_id":"ann","ts":5},\
{"type":"forget","user_id":"ann","ts":5}]')]
    """
    open_ones: dict[int, tuple[str, list[bytes], int]] = {}
    done: list[Bundle] = []
    for event, text in zip(events, raw, strict=True):
        if (reason := too_large(text)) is not None:
            raise ValueError(reason)
        key = routing_id(event)
        partition = partition_of(key, n_partitions)
        first, texts, size = open_ones.get(partition, (key, [], 0))
        if size + len(text) > MAX_EVENT_BYTES:
            done.append(_closed(partition, first, texts))
            first, texts, size = key, [], 0
        texts.append(text)
        open_ones[partition] = first, texts, size + len(text) + 1
    return done + [_closed(partition, first, texts) for partition, (first, texts, _) in open_ones.items()]


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


def _closed(partition: int, key: str, texts: Iterable[bytes]) -> Bundle:
    return Bundle(partition, key, b"[" + b",".join(texts) + b"]")
