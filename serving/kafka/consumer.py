"""Reading the compacted topics: every partition, committed records only, from offsets of our own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from learning.rows.follow import FOLLOWED
from stream.errors import BrokerError
from stream.kafka import KafkaSettings
from stream.kafka.connection import admin_client, client_options, kafka, theirs, translated
from stream.kafka.layout import LAYOUT

__all__ = ["Came", "LostRowsError", "RowConsumer", "topic_ids"]

_FETCH_BYTES = 8 << 20
_CONNECT_MS = 3_000
_FIRST = "catalogue"


class LostRowsError(BrokerError):
    """The topics do not hold what was to be read next: they were made anew, or brokers lost their data."""


class Came(NamedTuple):
    """One record: its topic without prefix, and what it says; a value of None deletes."""

    topic: str
    partition: int
    key: bytes
    value: bytes | None


def topic_ids(settings: KafkaSettings) -> dict[str, str]:
    """The ids that the brokers gave the followed topics: a topic made anew has another.

    Raises:
        BrokerAwayError: nobody answers. BrokerError: they refuse, or a topic is not there.
    """
    with admin_client(settings) as client:
        found = client.describe_topics([settings.topic(name) for name in FOLLOWED])
    for topic in found:
        if topic["error_code"]:
            with translated(settings):
                raise theirs.for_code(topic["error_code"])
    return {topic["name"].removeprefix(settings.prefix): str(topic["topic_id"]) for topic in found}


class RowConsumer:
    """A consumer without group; for one thread.

    What the catalogue had when this was made is read before anything else: where there are more rows than
    places, one must know whose they are.

    Args:
        settings: where the brokers are.
        offsets: where to go on, by topic without prefix and partition; None: from the beginning.

    Attributes:
        ends: where each partition ended when this was made.

    Raises:
        BrokerError: no broker answers, or it refuses.
        LostRowsError: a partition ends before the offset given for it.
    """

    def __init__(self, settings: KafkaSettings, offsets: Mapping[str, Sequence[int]] | None) -> None:
        self._settings = settings
        self._lost: LostRowsError | None = None  # seen when a position was asked for, told by `poll`
        counts = {topic.name: topic.partitions(settings) for topic in LAYOUT if topic.name in FOLLOWED}
        self._places = {
            kafka.TopicPartition(settings.topic(name), number): name
            for name in FOLLOWED
            for number in range(counts[name])
        }
        with translated(settings):
            self._consumer = self._open()
            try:
                self._seek(offsets)
            except BaseException:
                self._consumer.close()
                raise

    def _open(self) -> Any:
        options = client_options(self._settings)
        options["bootstrap_timeout_ms"] = min(self._settings.timeout_ms, _CONNECT_MS)
        return kafka.KafkaConsumer(
            **options,
            group_id=None,
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="none",  # what is not there any more is an error, not a silent jump
            allow_auto_create_topics=False,
            max_partition_fetch_bytes=_FETCH_BYTES,
            request_timeout_ms=max(self._settings.timeout_ms, 1_000),
        )

    def _seek(self, offsets: Mapping[str, Sequence[int]] | None) -> None:
        places = list(self._places)
        self._consumer.assign(places)
        begins = self._consumer.beginning_offsets(places)
        self.ends: dict[Any, int] = self._consumer.end_offsets(places)
        self._next: dict[Any, int] = {}
        for place, name in self._places.items():
            start = begins[place] if offsets is None else offsets[name][place.partition]
            if not begins[place] <= start <= self.ends[place]:
                msg = (
                    f"{place.topic}/{place.partition}: expected rows from offset {start} on, found "
                    f"{begins[place]} to {self.ends[place]}; were the topics made anew? Restart this worker"
                )
                raise LostRowsError(msg)
            self._consumer.seek(place, start)
            self._next[place] = start
        self._later = [place for place, name in self._places.items() if name != _FIRST]
        self._consumer.pause(*self._later)

    def _catalogue_is_read(self) -> bool:
        names = self._places.items()
        return all(self._position(place) >= self.ends[place] for place, name in names if name == _FIRST)

    def poll(self, timeout_s: float, at_most: int) -> list[Came]:
        """What has come, in order for each partition; empty when nothing does in time.

        Raises:
            LostRowsError: what was to be read next is not there.
            BrokerError: the brokers refuse.
        """
        with translated(self._settings):
            if self._later and self._catalogue_is_read():
                self._consumer.resume(*self._later)
                self._later = []
            try:
                batches = self._consumer.poll(int(timeout_s * 1e3), max_records=at_most)
            except (theirs.OffsetOutOfRangeError, theirs.LogTruncationError) as error:
                raise _lost(error) from error
        if self._lost is not None:
            raise self._lost
        came = []
        for place, records in batches.items():
            name = self._places[place]
            came += [Came(name, place.partition, record.key or b"", record.value) for record in records]
            self._next[place] = records[-1].offset + 1
        return came

    def offsets(self) -> dict[str, list[int]]:
        """The next offsets to read, as the constructor takes them."""
        found: dict[str, list[int]] = {name: [] for name in FOLLOWED}
        for place, name in self._places.items():
            found[name].append(self._position(place))
        return found

    def left(self) -> int:
        """Offsets of what was there when this was made and is not read yet."""
        return sum(max(0, end - self._position(place)) for place, end in self.ends.items())

    def lag(self) -> int:
        """Offsets of what is known to be there and is not read yet."""
        known = ((self._consumer.highwater(place), place) for place in self._places)
        return sum(max(0, end - self._position(place)) for end, place in known if end is not None)

    def _position(self, place: Any) -> int:
        try:
            at = self._consumer.position(place, timeout_ms=0)
        except (theirs.OffsetOutOfRangeError, theirs.LogTruncationError) as error:
            # Whoever is first to ask the client is told, and only once.
            self._lost, at = _lost(error), None
        if at is not None:
            self._next[place] = int(at)
        return self._next[place]

    def close(self) -> None:
        """Let go of the brokers."""
        self._consumer.close()


def _lost(error: Exception) -> LostRowsError:
    return LostRowsError(f"rows that were to be read next are not there ({error}); restart this worker")
