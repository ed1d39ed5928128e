"""JOIN's partitions in step: their marks in `control`, told and heard, and when an event of history was."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from learning.rows.codec import decode_control, encode_control
from stream.clock import Clock
from stream.engine.pace import Board, Gate, Mark, TimesOf
from stream.engine.shard import SourceRecord
from stream.errors import BrokerError, FrameError
from stream.events import FIRST_TS, LAST_TS
from stream.kafka.reader import async_options, stop_consumer
from stream.kafka.settings import KafkaSettings

__all__ = ["Pacing", "history_times", "mark_row"]

_log = logging.getLogger(__name__)

_KEY = "pace/"
_POLL_MS = 200
_LOOK_S = 0.25
# What several partitions have to tell at the same time is told together.
_PAUSE_S = 0.005
# Beyond the session after which a dead worker's partitions are given to others: to join, and to be heard.
_MORE_SILENT_S = 30.0
_SAY_AGAIN_S = 60.0
_BEHAVIOUR = {"impression", "click", "decision"}


class _Timed(msgspec.Struct):
    """As much of an event as says when it was; of any other type, since whatever comes is to be read."""

    type: Any = None
    ts: Any = None


_many = msgspec.json.Decoder(list[_Timed])
_one = msgspec.json.Decoder(_Timed)


def history_times(max_ahead_ms: int | None = None) -> TimesOf:
    """Says when the first and the last event of a record of history were, of those that move its time.

    What JOIN will refuse does not count: times that are none, and those more than `max_ahead_ms` after the
    record was written.

    Example:
        >>> times = history_times(60_000)
        >>> clicks = b'[{"type": "click", "ts": 1700000000000}, {"type": "click", "ts": 1600000000000}]'
        >>> times(SourceRecord(0, clicks, at=1_700_000_000_000))
        (1600000000000, 1700000000000)
        >>> times(SourceRecord(0, clicks, at=1_650_000_000_000))
        (1600000000000, 1600000000000)
        >>> times(SourceRecord(0, b'[{"type": "item", "ts": 1700000000000}]')) is None
        True
    """

    def times(record: SourceRecord) -> tuple[int, int] | None:
        latest = LAST_TS if max_ahead_ms is None else record.at + max_ahead_ms
        found = [
            event.ts
            for event in _read(record.value)
            if event.type in _BEHAVIOUR and type(event.ts) is int and FIRST_TS <= event.ts <= latest
        ]
        return (min(found), max(found)) if found else None

    return times


def _read(value: bytes) -> list[_Timed]:
    """The events; of what cannot be read JOIN makes dead letters, when its turn has come."""
    try:
        return [_one.decode(value)] if value.lstrip()[:1] == b"{" else _many.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []


class Pacing:
    """Tells and hears the marks of JOIN's partitions for one worker, and lets its shards go on.

    It hears from the end of `control` on: what is told before is told again as long as anybody waits.

    Args:
        settings: where the brokers are, and how many partitions there are.
        clock: wall and monotonic time.
        max_skew_ms: how far a partition may be ahead of another.
        session_s: time after which a dead worker's partitions are given to others.
        max_ahead_ms: as `JoinShard` takes it.
        keep_pace: called when shards may have something to do; returns at once.

    Example:
        See `tests/kafka/test_pacing.py`.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        clock: Clock,
        max_skew_ms: int,
        session_s: float,
        max_ahead_ms: int | None,
        keep_pace: Callable[[], None],
    ) -> None:
        self._settings, self._clock, self._keep_pace = settings, clock, keep_pace
        self._topic = settings.topic("control")
        self._times = history_times(max_ahead_ms)
        self._changed = asyncio.Event()
        self.board = Board(
            settings.partitions,
            max_skew_ms,
            clock,
            silent_s=session_s + _MORE_SILENT_S,
            on_change=self._changed.set,
        )

    def gate(self, partition: int) -> Gate:
        """What lets the records of a partition of ours through."""
        return Gate(partition, self.board, self._times, self._clock)

    async def run(self) -> None:
        """Tell and hear for ever; ends by cancellation.

        Raises:
            BrokerError: the topic cannot be read or written.
        """
        producer = AIOKafkaProducer(enable_idempotence=True, **async_options(self._settings))
        # What is not committed may hide behind transactions of others that are; marks are in none.
        consumer = AIOKafkaConsumer(
            isolation_level="read_uncommitted",
            enable_auto_commit=False,
            auto_offset_reset="latest",
            fetch_max_wait_ms=_POLL_MS,
            **async_options(self._settings),
        )
        tasks: list[asyncio.Task[None]] = []
        try:
            await producer.start()
            await consumer.start()
            tasks += [asyncio.create_task(self._hear(consumer)), asyncio.create_task(self._tell(producer))]
            await asyncio.gather(*tasks)
        except KafkaError as error:
            where = self._settings.bootstrap
            msg = f"{self._topic}: marks cannot be told or heard: {error!r}; are its brokers at {where}?"
            raise BrokerError(msg) from error
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await producer.stop()
            await stop_consumer(consumer)

    async def _hear(self, consumer: AIOKafkaConsumer) -> None:
        place = TopicPartition(self._topic, 0)
        consumer.assign([place])
        consumer.seek(place, (await consumer.end_offsets([place]))[place])
        while True:
            for record in (await consumer.getmany(timeout_ms=_POLL_MS)).get(place, ()):
                self.put(record.key, record.value)

    def put(self, key: bytes | None, value: bytes | None) -> bool:
        """Take a row of `control`; whether it was a mark.

        Example:
            >>> from stream.clock import ManualClock
            >>> pacing = Pacing(KafkaSettings(partitions=2), ManualClock(), 60_000, 15.0, None, lambda: None)
            >>> pacing.put(b"pace/1", mark_row(Mark(history=5_000, covers={0: 7})))
            True
            >>> pacing.board.marks[1]
            Mark(history=5000, live=None, ends=-1, covers={0: 7})
        """
        if key is None or value is None or not key.startswith(_KEY.encode()):
            return False
        try:
            _, state = decode_control(value)
            mark = msgspec.convert({**state, "covers": dict(state["covers"])}, Mark)
            self.board.hear(int(key.removeprefix(_KEY.encode())), mark)
        except (FrameError, KeyError, TypeError, ValueError) as error:  # msgspec's are of the last kind
            _log.error("%s: the row %r is passed over: %s", self._topic, key, error)
            return False
        return True

    async def _tell(self, producer: AIOKafkaProducer) -> None:
        waited_s = -math.inf
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), _LOOK_S)
            self._changed.clear()
            for partition in self.board.look():
                _log.warning("events/%d is not waited for any more: nobody tells how far it is", partition)
            if self.board.waits:
                last_s, waited_s = waited_s, self._clock.monotonic_s()
                if waited_s - last_s > _SAY_AGAIN_S:
                    step_s = self.board.max_skew_ms / 1e3
                    _log.info("partitions of events go on in steps of %g s (work.max_skew_ms)", step_s)
            self._keep_pace()
            await self._write(producer, self.board.to_tell())
            await asyncio.sleep(_PAUSE_S)

    async def _write(self, producer: AIOKafkaProducer, marks: Iterable[tuple[int, Mark]]) -> None:
        sent = [
            await producer.send(self._topic, mark_row(mark), key=f"{_KEY}{partition}".encode(), partition=0)
            for partition, mark in marks
        ]
        if sent:
            await asyncio.gather(*sent)


def mark_row(mark: Mark) -> bytes:
    """A mark as a row of `control`."""
    state = {"history": mark.history, "live": mark.live, "ends": mark.ends}
    return encode_control("pace", {**state, "covers": [list(pair) for pair in mark.covers.items()]})
