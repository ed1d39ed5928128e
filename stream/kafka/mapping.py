"""Records of a team's own topics to events: pure, so whoever reads the topics can be anybody.

A record becomes one event for each source of its topic whose `where` holds. What cannot become an event is a
dead letter with the topic, partition and offset it stood at, and the reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from stream.codec import decode_events
from stream.dead_letters import DeadLetter, kept_original
from stream.errors import EventError
from stream.events import LoggedEvent
from stream.fields import as_ms, convert
from stream.kafka.bundles import too_large
from stream.kafka.sources import SourceSettings, said

__all__ = ["ForeignRecord", "Mapped", "SourceMapping", "Tally", "map_record"]

_TIMES = ("ts", "available_from", "available_until")
_NOTHING: Any = object()


class ForeignRecord(NamedTuple):
    """A record as a consumer has it; `timestamp` is the record's own, in ms."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None

    @property
    def place(self) -> str:
        """Where it stands: topic/partition/offset."""
        return f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(slots=True)
class Mapped:
    """What records became: `events`, with each its JSON in `raw`, and letters for what could not be read."""

    events: list[LoggedEvent] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)


@dataclass(slots=True)
class Tally:
    """Records of a source that its `where` held for, and others."""

    source: str
    held: int = 0
    passed_over: int = 0


class SourceMapping:
    """All sources together; it keeps nothing between records but how many there were.

    Args:
        sources: of any number of topics.
        dimension: numbers that the `vector` of an item must have; None takes any.

    Example:
        >>> views = SourceSettings("views", "click", {"item_id": "product.id", "user_id": "$key"})
        >>> record = ForeignRecord("views", 0, 7, 1_700_000_000_000, b"ann", b'{"product": {"id": 12}}')
        >>> SourceMapping([views]).on_records([record]).raw
        [b'{"type":"click","item_id":"12","user_id":"ann","ts":1700000000000}']
    """

    def __init__(self, sources: Iterable[SourceSettings], *, dimension: int | None = None) -> None:
        self._dimension = dimension
        self._by_topic: dict[str, list[tuple[SourceSettings, Tally]]] = {}
        for source in sources:
            self._by_topic.setdefault(source.topic, []).append((source, Tally(source.name)))

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics to read."""
        return tuple(self._by_topic)

    def on_records(self, records: Iterable[ForeignRecord]) -> Mapped:
        """Map records, in order; a topic that is in no source gives nothing."""
        mapped = Mapped()
        for record in records:
            for source, tally in self._by_topic.get(record.topic, ()):
                held = map_record(source, record, mapped, dimension=self._dimension)
                tally.held += held
                tally.passed_over += not held
        return mapped

    def tallies(self, topic: str) -> list[Tally]:
        """For each source of a topic, what became of the records so far."""
        return [tally for _, tally in self._by_topic.get(topic, ())]


def map_record(
    source: SourceSettings, record: ForeignRecord, into: Mapped, *, dimension: int | None = None
) -> bool:
    """Add what one record is, by one of its sources: an event, a dead letter, or nothing; whether `where`
    held."""
    try:
        body = _body(source, record)
        if body is None:
            return False
        raw = msgspec.json.encode(body)
    except (ValueError, EventError) as error:  # also JSON that cannot be read, and text that is no UTF-8
        into.letters.append(_letter(record, str(error)))
        return True
    decoded = decode_events(raw, ndjson=True, dimension=dimension)
    reason = decoded.rejected[0].reason if decoded.rejected else too_large(raw)
    if reason is not None:
        into.letters.append(_letter(record, reason + _origin(source, reason)))
        return True
    into.events += decoded.events
    into.raw += decoded.raw
    return True


def _origin(source: SourceSettings, reason: str) -> str:
    """Where the field stood that a reason begins with."""
    name = re.split(r"[:.\[]", reason, maxsplit=1)[0]
    return f" (mapped from {source.fields[name]})" if name in source.fields else ""


def _letter(record: ForeignRecord, reason: str) -> DeadLetter:
    return DeadLetter(record.timestamp, reason, record.place, kept_original(record.value or b""))


def _body(source: SourceSettings, record: ForeignRecord) -> dict[str, Any] | None:
    """The event as JSON would have it; None for a record that `where` passes over."""
    value = _value(source, record)
    for path, wanted in source.where.items():
        if said(_at(value, path, record)) != said(wanted):
            return None
    body = {"type": source.type, **source.constants}
    for name, path in source.fields.items():
        found = _at(value, path, record)
        if found is _NOTHING or found is None:
            continue
        unit = "ms" if path == "$timestamp" else source.time
        try:
            body[name] = as_ms(name, found, unit) if name in _TIMES else convert(name, found)
        except EventError as error:
            msg = f"{error} (mapped from {path})"
            raise EventError(msg) from error
    if record.value is None:
        body["deleted"] = True
    body.setdefault("ts", record.timestamp)
    return body


def _value(source: SourceSettings, record: ForeignRecord) -> Mapping[str, Any]:
    if record.value is None:
        # In a compacted topic a key without a value says that the thing is gone.
        if source.type == "item":
            return {}
        msg = "record: expected a JSON object, got no value, which only a source of items can have"
        raise ValueError(msg)
    try:
        value = msgspec.json.decode(record.value)
    except (msgspec.DecodeError, RecursionError) as error:
        msg = f"record: expected a JSON object, got bytes that cannot be read: {error}"
        raise ValueError(msg) from error
    if not isinstance(value, dict):
        msg = f"record: expected a JSON object, got {type(value).__name__}"
        raise ValueError(msg)
    return value


def _at(value: Any, path: str, record: ForeignRecord) -> Any:
    """The value at a path, or `_NOTHING`."""
    if path == "$key":
        return _NOTHING if record.key is None else record.key.decode()
    if path == "$timestamp":
        return record.timestamp
    return _walk(value, path.split("."))


def _walk(value: Any, steps: Sequence[str]) -> Any:
    for n, step in enumerate(steps):
        if step == "*" and isinstance(value, list):
            found = [_walk(element, steps[n + 1 :]) for element in value]
            return [None if element is _NOTHING else element for element in found]
        if isinstance(value, dict):
            # A name may have dots in it: what is left of the path, as one name, goes first.
            whole = ".".join(steps[n:])
            if whole in value:
                return value[whole]
            value = value.get(step, _NOTHING)
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return _NOTHING
    return value
