"""Topics that a team has already: one partition of one, each record mapped to events, once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from learning.shards.letters import letter_about
from stream.engine.shard import Headers, Output, SourceRecord
from stream.events import LoggedEvent
from stream.frame import Frame
from stream.kafka.bundles import ACCEPTED, bundled, headers_of
from stream.kafka.mapping import ForeignRecord, SourceMapping, Tally
from stream.kafka.sources import SourceSettings

__all__ = ["SourceShard", "deaf_sources"]

_MANY = 100

_HEADERS: Headers = tuple(headers_of(False))


class SourceShard:
    """A `stream.engine.shard.ShardStep`: records of others to `events` and `dead-letters`; it keeps nothing.

    Events of one batch are put together into arrays, each for the partition that its id belongs to. What
    cannot become an event is a dead letter with the topic, partition and offset where it stood.

    Args:
        topic: the topic of others, as the brokers know it.
        partition: its partition.
        sources: the settings of all sources; those of other topics do not matter.
        n_partitions: of `events` and `dead-letters`.
        dimension: numbers that the `vector` of an item must have; None takes any.

    Example:
        >>> views = SourceSettings("click", {"item_id": "sku", "user_id": "$key"}, topic="views")
        >>> shard = SourceShard("views", 3, [views], 4)
        >>> shard.on_records([SourceRecord(7, b'{"sku": 12}', b"ann", 1_700_000_000_000)])
        >>> shard.on_records([SourceRecord(8, b"{")])
        >>> [(output.topic, output.partition, output.key) for output in shard.take()]
        [('dead-letters', 3, b'views/3/8'), ('events', 2, b'ann')]
    """

    def __init__(
        self,
        topic: str,
        partition: int,
        sources: Iterable[SourceSettings],
        n_partitions: int,
        *,
        dimension: int | None = None,
    ) -> None:
        self._topic, self._partition, self._n_partitions = topic, partition, n_partitions
        self._mapping = SourceMapping(sources, dimension=dimension)
        self._events: list[LoggedEvent] = []
        self._raw: list[bytes] = []
        self._accepted: list[int] = []
        self._letters: list[Output] = []
        self.n_letters = 0
        """Dead letters since this object was made."""

    @property
    def tallies(self) -> list[Tally]:
        """For each source of the topic, the records since this object was made that its `where` held for."""
        return self._mapping.tallies(self._topic)

    def on_records(self, records: Sequence[SourceRecord]) -> None:
        """Map records in the order of their offsets."""
        for record in records:
            # A record without a value comes as one with no bytes, which no JSON is.
            value = record.value or None
            found = self._mapping.on_records(
                [ForeignRecord(self._topic, self._partition, record.offset, record.at, record.key, value)]
            )
            self._events += found.events
            self._raw += found.raw
            # Whoever wrote the record had the event then: what it waits here is part of how fresh rows are.
            self._accepted += [record.at] * len(found.events)
            self._letters += [self._letter(record, letter.reason) for letter in found.letters]

    def _letter(self, record: SourceRecord, reason: str) -> Output:
        self.n_letters += 1
        to = self._partition % self._n_partitions
        return letter_about(record, reason, self._topic, self._partition, to=to)

    def take(self) -> list[Output]:
        """Dead letters and arrays of events since the last call, each partition's in order."""
        outputs, self._letters = self._letters, []
        for bundle in bundled(self._events, self._raw, self._n_partitions, self._accepted):
            headers = (*_HEADERS, (ACCEPTED, bundle.accepted))
            outputs.append(Output("events", bundle.partition, bundle.value, bundle.key.encode(), headers))
        self._events, self._raw, self._accepted = [], [], []
        return outputs

    def snapshot(self) -> Frame:
        """Nothing."""
        return {}

    def restore(self, frame: Frame) -> None:
        """Nothing comes back."""
        del frame


def deaf_sources(steps: Iterable[object]) -> list[str]:
    """Sources whose `where` held for none of many records: it is probably not what was meant.

    Example:
        >>> fields = {"item_id": "i", "user_id": "u"}
        >>> acts = SourceSettings("click", fields, topic="acts", where={"what": "buy"})
        >>> shard = SourceShard("acts", 0, [acts], 1)
        >>> shard.on_records([SourceRecord(n, b'{"what": "view"}') for n in range(100)])
        >>> deaf_sources([shard])
        ['acts, click where what = buy']
    """
    held: Counter[str] = Counter()
    passed_over: Counter[str] = Counter()
    for step in steps:
        for tally in step.tallies if isinstance(step, SourceShard) else ():
            held[tally.source] += tally.held
            passed_over[tally.source] += tally.passed_over
    return [source for source, count in passed_over.items() if count >= _MANY and not held[source]]
