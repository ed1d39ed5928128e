"""Records of a team's own topics to events: pure, so whoever reads the topics can be anybody.

A record becomes an event for each source of its topic whose `where` holds, or several where it lists what
was clicked. What cannot become an event is a dead letter with the topic, partition and offset it stood at,
and the reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from stream.codec import decode_events
from stream.dead_letters import DeadLetter, kept_original
from stream.errors import EventError
from stream.events import LoggedEvent
from stream.kafka.bundles import too_large
from stream.kafka.sources import SourceSettings
from stream.mapped_events import NOTHING, Given, event_bodies, mapped_from

__all__ = ["ForeignRecord", "Mapped", "SourceMapping", "Tally", "map_record"]


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
        >>> views = SourceSettings("click", {"item_id": "product.id", "user_id": "$key"}, topic="views")
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
    """Add what one record is, by one of its sources: events, a dead letter, or nothing; whether `where`
    held."""
    try:
        bodies = _bodies(source, record)
        raws = [msgspec.json.encode(body) for body in bodies]
    except (ValueError, EventError) as error:  # also JSON that cannot be read, and text that is no UTF-8
        into.letters.append(_letter(record, str(error)))
        return True
    for raw in raws:
        decoded = decode_events(raw, ndjson=True, dimension=dimension)
        reason = decoded.rejected[0].reason if decoded.rejected else too_large(raw)
        if reason is not None:
            into.letters.append(_letter(record, mapped_from(source, reason)))
            continue
        into.events += decoded.events
        into.raw += decoded.raw
    return bool(raws)


def _letter(record: ForeignRecord, reason: str) -> DeadLetter:
    return DeadLetter(record.timestamp, reason, record.place, kept_original(record.value or b""))


def _bodies(source: SourceSettings, record: ForeignRecord) -> list[dict[str, Any]]:
    """The events as JSON would have them; none for a record that `where` passes over."""
    places = {
        "$key": NOTHING if record.key is None else record.key.decode(),
        "$timestamp": record.timestamp,
    }
    bodies = event_bodies(source, Given(_value(source, record), places))
    for body in bodies:
        if record.value is None:
            body["deleted"] = True
        body.setdefault("ts", record.timestamp)
    return bodies


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
