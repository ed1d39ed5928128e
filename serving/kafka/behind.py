"""Events in the topic `events` that no row served here knows yet: the oldest of each kind."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from learning.rows.marks import Marks
from stream.clock import Clock
from stream.codec import decode_logged
from stream.errors import BrokerError, EventError
from stream.kafka import KafkaSettings
from stream.kafka.bundles import ACCEPTED, accepted_times
from stream.kafka.connection import client_options, kafka, translated
from stream.turns import Turns
from stream.unlearned import kinds_of

__all__ = ["EventsBehind"]

_log = logging.getLogger(__name__)

_LOOK_S = 0.5
_POLL_MS = 200
_RECORDS = 500  # of a partition, at one look; it goes on there at the next


class EventsBehind:
    """A thread that looks into `events` behind the marks, once a mark is older than ticks explain.

    While the marks grow nothing is read, and nothing waits: rows come within a second then. From the moment
    at which one stands still, what was accepted behind it is looked for, whoever wrote it. Where the brokers
    do not let it look, the mark itself stands for the oldest event.

    Args:
        settings: where the brokers are.
        marks: how far the rows are.
        patience_ms: age of a mark from which it stands still.
    """

    def __init__(
        self, settings: KafkaSettings, clock: Clock, marks: Callable[[], Marks], patience_ms: int
    ) -> None:
        self._settings, self._clock, self._marks, self._patience_ms = settings, clock, marks, patience_ms
        self._consumer: Any = None
        self._partitions = [_Partition(number) for number in range(settings.partitions)]
        self._found: Mapping[str, float] = {}
        self._still: set[str] = set()  # kinds whose marks stand still
        self._told = False
        self._turns = Turns("behind", _LOOK_S, self._look)

    def start(self) -> None:
        """Begin to look."""
        self._turns.start()

    def stop(self) -> None:
        """Look no longer."""
        self._turns.stop()
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def oldest(self) -> dict[str, float]:
        """When the oldest that waits was accepted, wall ms, by kind, as of the last look."""
        marks = self._marks_by_kind()
        return {kind: at for kind, at in self._found.items() if at > marks[kind]}

    def _marks_by_kind(self) -> dict[str, int]:
        marks = self._marks()
        return {"users": marks.absorbed_at, "items": marks.items, "policies": marks.policies}

    def _look(self) -> None:
        now = self._clock.now_ms()
        marks = {kind: mark for kind, mark in self._marks_by_kind().items() if mark < now - self._patience_ms}
        if not marks or not any(self._marks().users):  # nobody has been heard of: nothing says where to begin
            self._found = {}
            self._begin()
            return
        if marks.keys() - self._still:  # what was read for others has not been looked at for these
            self._begin()
        self._still = set(marks)
        try:
            with translated(self._settings):
                found = self._read(marks)
        except BrokerError as error:
            if not self._told:
                _log.warning("events are not looked at for what waits: %s", error)
            self._told, found = True, {kind: mark + 1 for kind, mark in marks.items()}
        self._found = found

    def _begin(self) -> None:
        self._still = set()
        for partition in self._partitions:
            partition.begin()

    def _read(self, marks: Mapping[str, int]) -> dict[str, float]:
        if self._consumer is None:
            self._consumer = kafka.KafkaConsumer(
                **client_options(self._settings),
                group_id=None,
                enable_auto_commit=False,
                isolation_level="read_committed",
                auto_offset_reset="earliest",
                allow_auto_create_topics=False,
            )
        found: dict[str, float] = {}
        for partition in self._partitions:
            if self._turns.stopped:
                break
            partition.pass_over(marks)
            if not partition.first.keys() >= marks.keys():
                partition.read(self._consumer, self._settings.topic("events"), min(marks.values()), marks)
            for kind in partition.first.keys() & marks.keys():
                found[kind] = min(partition.first[kind], found.get(kind, partition.first[kind]))
        return found


class _Partition:
    """One partition of `events`; `first` holds by kind when the oldest that waits was accepted."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.begin()

    def begin(self) -> None:
        """Nothing waits."""
        self.first: dict[str, int] = {}
        self._next = -1

    def pass_over(self, marks: Mapping[str, int]) -> None:
        """Marks have grown: what they have passed waits no longer, and what follows it is looked for anew."""
        if any(at <= marks.get(kind, at) for kind, at in self.first.items()):
            self.begin()

    def read(self, consumer: Any, topic: str, mark: int, marks: Mapping[str, int]) -> None:
        """Go on looking; `mark` is the oldest of `marks`, before which nothing waits."""
        place = kafka.TopicPartition(topic, self.number)
        consumer.assign([place])
        if self._next < 0:
            behind = consumer.offsets_for_times({place: mark + 1})[place]
            if behind is None:
                return
            self._next = behind.offset
        if self._next >= consumer.end_offsets([place])[place]:
            return
        consumer.seek(place, self._next)
        for record in consumer.poll(_POLL_MS, max_records=_RECORDS).get(place, ()):
            self._next = record.offset + 1
            self._take(record, marks)

    def _take(self, record: Any, marks: Mapping[str, int]) -> None:
        headers = dict(record.headers)
        if headers.get("backfill") == b"1" or not record.value:
            return
        try:
            events = decode_logged(record.value)
        except EventError:
            return
        for event, at in zip(
            events, accepted_times(headers.get(ACCEPTED), record.timestamp, len(events)), strict=True
        ):
            for kind in kinds_of([event]) - self.first.keys():
                if at > marks.get(kind, at):
                    self.first[kind] = at
