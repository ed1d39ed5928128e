"""Copies the topic `events` into a fresh data folder, which `freshet up` then learns from."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from freshet.config import Settings
from freshet.feeding.events_topic import TopicBounds, TopicRecord, events_of, merged
from freshet.feeding.progress import CopyProgress
from freshet.feeding.sender import SendReport
from learning.errors import StartError
from stream.clock import Clock
from stream.events import Click, Decision, Forget, Impression, LoggedEvent
from stream.folder import DataFolder
from stream.kafka.layout import LAYOUT
from stream.kafka.reader import PartitionReader
from stream.kafka.topics import describe_topics
from stream.log import Record, SQLiteLog

__all__ = ["KafkaToFolder"]


class KafkaToFolder:
    """A copy of `events` into the file of worker 0, decisions and all.

    **Order and time.** Partitions are merged by the time that the log gave their records, which becomes their
    `accepted_at`. A learner on the wall clock lives through live records at the pace at which they were
    accepted, so what was in time then is in time again; history stays history. Ticks are not copied: the
    learner makes its own.

    **Forgotten users.** `events` is read once beforehand for forgets. Of the users that they name nothing is
    copied that is not newer, nor the forget: the id gets into no file.

    What the joiner would have made a dead letter is left out and counted. A run that was interrupted goes on
    where it stopped, and a later run copies what has come since.

    Args:
        settings: `kafka` says where from; `engine` bounds the file.
        path: the data folder, made when it is not there; without events, unless they are of the same copy.
        clock: for the report and for waits.
        restart: ignore where an earlier run stopped.

    Raises:
        StartError: the folder holds something else.
        LogError: something runs on the folder, or it cannot be used.
        BrokerError: no broker answers, or `events` is not as expected.
    """

    def __init__(self, settings: Settings, path: Path, clock: Clock, *, restart: bool = False) -> None:
        self._settings = settings
        self._clock = clock
        self._path = path
        self._topic = settings.kafka.topic("events")
        self.report = SendReport()
        self._forgotten: dict[str, int] = {}
        self._gone_requests: set[str] = set()
        self._require_topic()
        mark = {"from": settings.kafka.bootstrap, "prefix": settings.kafka.prefix}
        self._progress = CopyProgress(path, mark, restart=restart)
        self._open = ExitStack()
        try:
            folder = DataFolder(path, exclusive=True)
            self._open.callback(folder.close)
            folder.prepare(1)
            self._log = folder.writer(folder.source(0), settings.engine)
            self._open.callback(self._log.close)
            self._require_room(self._log)
        except BaseException:
            self._open.close()
            raise

    def _require_topic(self) -> None:
        kafka = self._settings.kafka
        found = describe_topics(kafka, [topic for topic in LAYOUT if topic.name == "events"])
        there = found[self._topic].partitions if self._topic in found else None
        if there != kafka.partitions:
            came = "no such topic" if there is None else f"{there}"
            msg = (
                f"Kafka at {kafka.bootstrap}: topic {self._topic}: expected {kafka.partitions} partitions, "
                f"found {came}; correct `prefix` or `partitions` under [kafka]"
            )
            raise StartError(msg)

    def _require_room(self, log: SQLiteLog) -> None:
        if log.end() and not self._progress.positions:
            msg = (
                f"{self._path} holds events that are not of this copy; name a folder that is not there yet, "
                "or one that an earlier run of this command has begun"
            )
            raise StartError(msg)

    def close(self) -> None:
        """Let go of the folder."""
        self._open.close()

    def run(
        self, *, batch: int = 500, on_progress: Callable[[int], None] = lambda _count: None
    ) -> SendReport:
        """Copy what is in `events` now, `batch` records at a time; `on_progress` is told how many events each
        stored batch held.

        Raises:
            BrokerError: the brokers went away; the same command goes on there.
            DiskFullError: the file reached `engine.max_mb`.
        """
        asyncio.run(self._run(batch, on_progress))
        return self.report

    async def _run(self, batch: int, on_progress: Callable[[int], None]) -> None:
        reader = PartitionReader(self._settings.kafka, self._clock)
        try:
            bounds = await self._bounds(reader)
            everything = {
                p: TopicBounds(await reader.start_of(self._topic, p), b.stop) for p, b in bounds.items()
            }
            async for taken in merged(reader, self._topic, everything):
                # A backslash may hide letters of the word.
                if b"forget" in taken.record.value or b"\\u" in taken.record.value:
                    self._note_forgets(taken)
            waiting: list[TopicRecord] = []
            async for taken in merged(reader, self._topic, bounds):
                waiting.append(taken)
                if len(waiting) >= batch:
                    on_progress(self._store(waiting))
                    waiting = []
            on_progress(self._store(waiting))
        finally:
            await reader.close()

    async def _bounds(self, reader: PartitionReader) -> dict[int, TopicBounds]:
        found = {}
        for partition in range(self._settings.kafka.partitions):
            begin = await reader.start_of(self._topic, partition)
            stop = await reader.end_of(self._topic, partition)
            found[partition] = TopicBounds(max(begin, self._progress.positions.get(str(partition), 0)), stop)
        return found

    def _note_forgets(self, taken: TopicRecord) -> None:
        for event, _ in events_of(taken, lambda _taken, _reason: None):
            if isinstance(event, Forget):
                self._forgotten[event.user_id] = max(event.ts, self._forgotten.get(event.user_id, 0))

    def _store(self, taken: list[TopicRecord]) -> int:
        latest = int(self._clock.now_ms())
        records: list[Record] = []
        count = 0
        for one in taken:
            kept = [(e, text) for e, text in events_of(one, self._refuse) if not self._is_forgotten(e)]
            records += _as_records(kept, min(one.at, latest), one.record.headers)
            count += len(kept)
        if records:
            self._log.append(records)
        reached = {str(one.partition): one.record.offset + 1 for one in taken}
        self._progress.save(self._progress.positions | reached)
        self.report.accepted += count
        self.report.accepted_at = latest
        return count

    def _refuse(self, taken: TopicRecord, reason: str) -> None:
        self.report.refuse(taken.record.offset, f"events/{taken.partition}: {reason}")

    def _is_forgotten(self, event: LoggedEvent) -> bool:
        user_id, request_id = getattr(event, "user_id", None), getattr(event, "request_id", None)
        if user_id is None:
            return request_id is not None and request_id in self._gone_requests
        gone = event.ts <= self._forgotten.get(user_id, -1)
        if gone and isinstance(event, Impression | Decision | Click) and request_id is not None:
            self._gone_requests.add(request_id)
        return gone


def _as_records(
    events: list[tuple[LoggedEvent, bytes]], accepted_at: int, headers: tuple[tuple[str, bytes], ...]
) -> list[Record]:
    """As the gateway logs them: a decision is a record of its own, found by its request."""
    backfill = dict(headers).get("backfill") == b"1"
    records: list[Record] = []
    others: list[bytes] = []

    def close_others() -> None:
        if others:
            records.append(Record("events", b"[" + b",".join(others) + b"]", accepted_at, backfill))
            others.clear()

    for event, text in events:
        if isinstance(event, Decision):
            close_others()
            records.append(
                Record("decision", b"[" + text + b"]", accepted_at, backfill, request_id=event.request_id)
            )
        else:
            others.append(text)
    close_others()
    return records
