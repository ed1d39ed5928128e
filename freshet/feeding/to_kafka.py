"""Copies the data folder of an embedded system into the topic `events`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from freshet.config import Settings
from freshet.feeding.progress import CopyProgress
from freshet.feeding.sender import MAX_BATCH_BYTES, SendReport
from learning.errors import StartError
from replay.source import FolderSource
from stream.clock import Clock
from stream.codec import decode_logged, raw_events, upgrade
from stream.commits import CommitReader
from stream.errors import BrokerError, EventError
from stream.events import LoggedEvent
from stream.folder import DataFolder
from stream.kafka.bundles import too_large
from stream.kafka.producer import EventProducer
from stream.log import DAMAGED, Record

__all__ = ["FolderToKafka"]


class _Piece(NamedTuple):
    """Events of one record on their way, and the place that is reached when they have arrived."""

    place: str
    pos: int
    backfill: bool
    events: list[LoggedEvent]
    raw: list[bytes]


class FolderToKafka:
    """A copy of all workers' events and decisions, as they were written, in the order of learning.

    **Time.** On the wall clock what is old would be late on the other side, whose time is now. So everything
    goes as history (`backfill`), whose time is the largest `ts` so far: first what was history in the folder,
    then what was live. Windows, lateness and attribution then follow the events' own times. On the event
    clock everything keeps the stream it was in.

    Nothing may run on the folder meanwhile. Forgotten users are in no file any more, so nothing of them is
    copied; forgets that are still being worked off must be finished first, and a copy does not go on where it
    stopped once others were forgotten: what had been copied of them would stay on the other side.

    A later run copies what has come since. Events that arrive twice are dropped by the joiner.

    Args:
        path: the data folder.
        settings: of the other side; `kafka` and `clock` count.
        clock: for the report.
        restart: copy everything again.

    Raises:
        StartError: it is no data folder, forgets are unfinished, or users were forgotten since a run before.
        LogError: something runs on the folder, or it is damaged.
        BrokerError: no broker answers, or `events` is not as expected.
    """

    def __init__(self, path: Path, settings: Settings, clock: Clock, *, restart: bool = False) -> None:
        if not (path / "freshet.json").exists():
            msg = f"{path} is no data folder: expected freshet.json in it, see `freshet up --data`"
            raise StartError(msg)
        self._settings = settings
        self._clock = clock
        self._open = ExitStack()
        self.report = SendReport()
        try:
            folder = DataFolder(path, exclusive=True)
            self._open.callback(folder.close)
            readers = folder.readers()
            for reader in readers.values():
                self._open.callback(reader.close)
            commits = self._commits(folder)
            self._source = FolderSource(dict(readers), commits)
            self._progress = self._start(path, commits, restart)
            self._producer = self._open.enter_context(EventProducer(settings.kafka))
        except BaseException:
            self._open.close()
            raise

    def _commits(self, folder: DataFolder) -> CommitReader | None:
        if not folder.learner_path.exists():
            return None
        commits = folder.commit_reader()
        self._open.callback(commits.close)
        if pending := commits.pending():
            msg = (
                f"{folder.path}: {len(pending)} forgets are not worked off, their users are still in "
                f"the files; start `freshet up --data {folder.path}`, end it when it is ready, then copy"
            )
            raise StartError(msg)
        return commits

    def _start(self, path: Path, commits: CommitReader | None, restart: bool) -> CopyProgress:
        kafka = self._settings.kafka
        progress = CopyProgress(path, {"to": kafka.bootstrap, "prefix": kafka.prefix}, restart=restart)
        forgotten = commits.ready_scrub() if commits is not None else 0
        before = progress.positions.setdefault("forgets", forgotten)
        if before != forgotten:
            msg = (
                f"{path}: {forgotten - before} users were forgotten since the last copy to "
                f"{kafka.bootstrap}, and who they were is in no file; send their `forget` events there "
                "too, then copy with --restart"
            )
            raise StartError(msg)
        return progress

    def close(self) -> None:
        """Let go of the folder and the brokers."""
        self._open.close()

    def run(
        self, *, batch: int = 500, on_progress: Callable[[int], None] = lambda _count: None
    ) -> SendReport:
        """Copy what is not there yet; `on_progress` is told how many events each acknowledged batch held.

        Raises:
            BrokerError: some of a batch may not have been written; the same command goes on there.
        """
        waiting: list[_Piece] = []
        count = size = 0
        for piece in self._pieces():
            if waiting and (
                count >= batch or size >= MAX_BATCH_BYTES or piece.backfill is not waiting[0].backfill
            ):
                on_progress(self._send(waiting))
                waiting, count, size = [], 0, 0
            waiting.append(piece)
            count += len(piece.raw)
            size += sum(map(len, piece.raw))
        if waiting:
            on_progress(self._send(waiting))
        return self.report

    def _pieces(self) -> Iterator[_Piece]:
        by_event = self._settings.clock == "event"
        for only in (None,) if by_event else (True, False):
            for name, record in self._source.records():
                if not isinstance(record, Record) or only not in (None, record.backfill):
                    continue
                # Two passes over one file have two places.
                place = name if only is None else f"{name}/{'history' if only else 'live'}"
                if record.pos > self._progress.positions.get(place, 0):
                    yield self._piece(name, place, record, backfill=record.backfill or not by_event)

    def _piece(self, name: str, place: str, record: Record, *, backfill: bool) -> _Piece:
        piece = _Piece(place, record.pos, backfill, [], [])
        try:
            if record.damaged:
                raise EventError(DAMAGED)
            raw = raw_events(upgrade(record.schema, record.body))
            events = decode_logged(record.body, record.schema)
        except EventError as error:
            self.report.refuse(record.pos, f"{name}: {error}")
            return piece
        for event, text in zip(events, raw, strict=True):
            if (reason := too_large(text)) is not None:
                self.report.refuse(record.pos, f"{name}: {reason}")
            else:
                piece.events.append(event)
                piece.raw.append(text)
        return piece

    def _send(self, pieces: list[_Piece]) -> int:
        events = [event for piece in pieces for event in piece.events]
        raw = [text for piece in pieces for text in piece.raw]
        try:
            self._producer.send(events, raw, backfill=pieces[0].backfill)
        except BrokerError as error:
            msg = f"{error}; run the same command to go on there"
            raise BrokerError(msg) from error
        self._progress.save(self._progress.positions | {piece.place: piece.pos for piece in pieces})
        self.report.accepted += len(events)
        self.report.accepted_at = int(self._clock.now_ms())
        return len(events)
