"""Bytes to events and back: what clients send, and what the logs hold.

A client's events are logged as the client wrote them, unknown fields included; Freshet's own are encoded
here. Every record of a log carries the number of its schema, so that older ones can be raised to the
current one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import msgspec

from stream.envelope import open_body, unreadable_member
from stream.errors import EventError
from stream.events import (
    EVENT_SCHEMA,
    Click,
    Event,
    Forget,
    ItemEvent,
    LearnedDecision,
    LearnedImpression,
    LoggedEvent,
    Tick,
)
from stream.rules import MAX_NESTING, MAX_OBJECT_BYTES, broken_rule, nesting, reason_of, too_deep
from stream.wide_numbers import may_be_wide

__all__ = [
    "MAX_REASONS",
    "Decoded",
    "Rejection",
    "decode_events",
    "decode_learned",
    "decode_logged",
    "encode_events",
    "raw_events",
    "record_bytes",
    "upgrade",
]


_raws_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_event_decoder = msgspec.json.Decoder(Event)
_events_decoder = msgspec.json.Decoder(list[Event])
_anything_decoder = msgspec.json.Decoder()
_logged_decoder = msgspec.json.Decoder(LoggedEvent | list[LoggedEvent])
_LearnedEvent = LearnedImpression | Click | ItemEvent | Forget | LearnedDecision | Tick
_learned_decoder = msgspec.json.Decoder(_LearnedEvent | list[_LearnedEvent])
_encoder = msgspec.json.Encoder()

T = TypeVar("T")

MAX_REASONS = 1_000
"""Refused events of one body whose reasons are told; the others are counted."""

_ONE_MORE = f"event: refused; reasons are told for the first {MAX_REASONS} of a body"
_SLICE_BYTES = 128 << 10

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)


class Rejection(msgspec.Struct, frozen=True):
    """An event that was refused: its place in what was sent, from 0, and why."""

    index: int
    reason: str


@dataclass(slots=True)
class Decoded:
    """What a client sent: the accepted events, the refused ones, and which stream they belong to.

    `raw` holds the accepted events as they were written, `refused` the others, in the order of `rejected`.
    """

    events: list[Event]
    raw: list[bytes]
    rejected: list[Rejection]
    refused: list[bytes]
    backfill: bool = False


@dataclass(frozen=True, slots=True)
class _Limits:
    dimension: int | None
    latest_ts: int | None
    object_bytes: int


def decode_events(
    body: bytes | bytearray | memoryview,
    *,
    ndjson: bool = False,
    dimension: int | None = None,
    latest_ts: int | None = None,
    object_bytes: int = MAX_OBJECT_BYTES,
    max_events: int | None = None,
) -> Decoded:
    """Read what a client sent; one bad event does not refuse the others.

    Args:
        body: ``{"events": [...], "backfill": false}``, or with `ndjson` one event a line (blank lines are
            skipped and not counted).
        ndjson: which of the two it is.
        dimension: numbers that an item's `vector` must have; None takes any.
        latest_ts: the largest `ts` accepted now, in ms; None takes any.
        object_bytes: the most that a `context` or `attributes` may take as JSON; `item_context` has a limit
            of its own.
        max_events: the most events that are taken at once; None takes any number.

    Raises:
        TooManyEventsError: there are more than `max_events`.
        EventError: the body as a whole cannot be read.

    Example:
        >>> body = b'{"events": [{"type": "forget", "user_id": "u", "ts": 1700000000000}, {"type": "click"}]}'
        >>> decoded = decode_events(body)
        >>> decoded.events
        [Forget(user_id='u', ts=1700000000000)]
        >>> decoded.rejected
        [Rejection(index=1, reason='ts: required, but missing')]
        >>> record_bytes(decoded)
        b'[{"type": "forget", "user_id": "u", "ts": 1700000000000}]'
    """
    raws, backfill, array = open_body(bytes(body), ndjson=ndjson, max_events=max_events)
    limits = _Limits(dimension, latest_ts, object_bytes)
    decoded = Decoded([], [], [], [], backfill)
    if len(body) <= _SLICE_BYTES:
        _read_slice(raws, array, 0, limits, decoded)
        return decoded
    # No decoding of one slice keeps the interpreter for long: beside it, in other threads, answers go on.
    for start, end in _slices(raws):
        _read_slice(raws[start:end], None, start, limits, decoded)
    return decoded


def _slices(raws: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    start = size = 0
    for place, raw in enumerate(raws, 1):
        size += len(raw)
        if size >= _SLICE_BYTES:
            yield start, place
            start, size = place, 0
    if start < len(raws):
        yield start, len(raws)


def _read_slice(
    raws: Sequence[bytes], array: bytes | None, first: int, limits: _Limits, decoded: Decoded
) -> None:
    """Read the events from place `first` on into `decoded`; `array` is all of them, if it is at hand."""
    events = _all_good(b"[%b]" % b",".join(raws) if array is None else array, len(raws), limits)
    if events is None:
        _one_by_one(raws, first, limits, decoded)
    else:
        decoded.events += events
        decoded.raw += raws


def _all_good(array: bytes, n: int, limits: _Limits) -> list[Event] | None:
    """The events if there is nothing to say against any of them: the short way, one decoding for all."""
    ascii_only = array.isascii() and b"\\u" not in array
    plain = ascii_only and not may_be_wide(array)
    try:
        events = _events_decoder.decode(array)
        if not plain:
            # Fields that no event has are skipped without a look at their text, and are logged all the same.
            str(array, "utf-8")
            _anything_decoder.decode(array)
    except (*_UNREADABLE, RecursionError):
        return None
    if len(events) != n or nesting(array) > MAX_NESTING + 1:
        return None
    check = partial(
        broken_rule,
        dimension=limits.dimension,
        latest_ts=limits.latest_ts,
        object_bytes=limits.object_bytes,
        ascii_only=ascii_only,
    )
    if any(check(event) is not None for event in events):
        return None
    return events


def _one_by_one(raws: Sequence[bytes], first: int, limits: _Limits, decoded: Decoded) -> None:
    for index, raw in enumerate(raws, first):
        event = _read(raw, limits, tells=len(decoded.rejected) < MAX_REASONS)
        if isinstance(event, str):
            decoded.rejected.append(Rejection(index, event))
            decoded.refused.append(raw)
        else:
            decoded.events.append(event)
            decoded.raw.append(raw)


def _read(raw: bytes, limits: _Limits, *, tells: bool) -> Event | str:
    """One event, or the reason why it is refused; finding it out takes long, so it is told of some only."""
    try:
        levels = nesting(raw)
        if levels > MAX_NESTING:
            return too_deep(levels)
        event = _event_decoder.decode(raw)
        str(raw, "utf-8")
        _anything_decoder.decode(raw)
    except _UNREADABLE as error:
        if not tells:
            return _ONE_MORE
        named = None if isinstance(error, msgspec.ValidationError) else unreadable_member(raw)
        return named or reason_of(error, raw)
    except RecursionError:
        return too_deep(nesting(raw))
    reason = broken_rule(
        event, dimension=limits.dimension, latest_ts=limits.latest_ts, object_bytes=limits.object_bytes
    )
    return event if reason is None else reason


def record_bytes(decoded: Decoded) -> bytes:
    """The accepted events as one record of a log: a JSON array of what the client wrote."""
    return b"[" + b",".join(decoded.raw) + b"]"


def encode_events(events: Sequence[LoggedEvent]) -> bytes:
    """One record of a log.

    Example:
        >>> from stream.events import Tick
        >>> encode_events([Tick(ts=7)])
        b'[{"type":"tick","ts":7}]'
    """
    return _encoder.encode(events)


def decode_logged(record: bytes | memoryview, schema: int = EVENT_SCHEMA) -> list[LoggedEvent]:
    """The events of one record, an array or a single object, written under an event schema.

    Raises:
        EventError: the record cannot be read, or its schema is not known.

    Example:
        >>> decode_logged(b'{"type": "tick", "ts": 7, "more": true}')
        [Tick(ts=7)]
    """
    return _decode(_logged_decoder, record, schema)


def raw_events(record: bytes) -> list[bytes]:
    """The bytes of each event of a record, as they stand in it; no event is looked into.

    Raises:
        EventError: the record is no JSON.

    Example:
        >>> raw_events(b'[{"type": "tick", "ts": 7}, 5]'), raw_events(b'{"type": "tick", "ts": 7}')
        ([b'{"type": "tick", "ts": 7}', b'5'], [b'{"type": "tick", "ts": 7}'])
    """
    text = record.strip()
    try:
        return [bytes(raw) for raw in _raws_decoder.decode(text if text[:1] == b"[" else b"[%b]" % text)]
    except (*_UNREADABLE, RecursionError) as error:
        msg = f"the record cannot be read: expected an event, or an array of events, as JSON: {error}"
        raise EventError(msg) from error


def decode_learned(record: bytes | memoryview, schema: int = EVENT_SCHEMA) -> list[LoggedEvent]:
    """As `decode_logged`, for the learner: what it never looks at stays JSON in a decision that is shown at
    once. One that waits for its impression is kept, compared and stored, and so is read as a whole.

    Example:
        >>> [decision] = decode_learned(
        ...     b'{"type":"decision","request_id":"r","ts":7,"user_id":"u","items":["a"],'
        ...     b'"propensities":[0.5],"policy":"p","scores":[0.25]}'
        ... )
        >>> decision.items, bytes(decision.scores)
        (['a'], b'[0.25]')
    """
    events = _decode(_learned_decoder, record, schema)
    for event in events:
        if type(event) is LearnedDecision and not event.auto:
            return decode_logged(record, schema)
    return events


def _decode(decoder: msgspec.json.Decoder[T | list[T]], record: bytes | memoryview, schema: int) -> list[T]:
    if schema != EVENT_SCHEMA:
        record = upgrade(schema, bytes(record))
    try:
        events = decoder.decode(record)
    except (*_UNREADABLE, RecursionError) as error:
        msg = f"the record cannot be read: expected events of schema {EVENT_SCHEMA} as JSON: {error}"
        raise EventError(msg) from error
    return events if isinstance(events, list) else [events]


def upgrade(schema: int, record: bytes) -> bytes:
    """The record as the current schema writes it; `schema` is the number that it was written under.

    Raises:
        EventError: the number is not known here: the record was written by a newer program.
    """
    if schema == EVENT_SCHEMA:
        return record
    msg = f"event schema {schema}: this program reads 1 to {EVENT_SCHEMA}; use the one that wrote the record"
    raise EventError(msg)
