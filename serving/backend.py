"""What a worker stands on: where decisions and events go, and where learned rows come from.

`serving.folder_backend.FolderBackend` is a data folder shared with a learner on the same machine. Another one
may keep decisions in a folder of its own and speak to brokers; the worker is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from serving.recommend import ClaimBook, DecisionFinder
from serving.replica import DeltaReader, Nudges, SnapshotReader
from serving.writer import GroupWriter
from stream.codec import Decoded, record_bytes
from stream.dead_letters import DeadLetter
from stream.lateness import LateGate
from stream.log import EventLog, Record

__all__ = ["Backend", "EventIntake", "LogIntake"]


class EventIntake(Protocol):
    """Where accepted events go."""

    async def take(self, decoded: Decoded) -> int:
        """Store the events of one request, all or none, so that they survive power loss; `accepted_at`.

        Raises:
            BusyError: a bound is reached. UnavailableError, LogError: they cannot be stored now.
        """


class LogIntake:
    """Events go to the log of this worker, beside its decisions."""

    def __init__(self, writer: GroupWriter) -> None:
        self._writer = writer

    async def take(self, decoded: Decoded) -> int:
        """Store the events with the next group; `accepted_at` (wall ms)."""
        record = Record("events", record_bytes(decoded), accepted_at=0, backfill=decoded.backfill)
        return await self._writer.submit(record, durable=True)


class Backend(Protocol):
    """The worker's files and connections; opened by its constructor, closed by `close`."""

    @property
    def name(self) -> str:
        """Of this worker among all that there are."""

    @property
    def index_path(self) -> Path:
        """Where the index is kept for the next start."""

    @property
    def writes_index(self) -> bool:
        """Whether this worker is the one that writes it."""

    @property
    def ready_lag_ms(self) -> int | None:
        """How old what is served may be for a worker that calls itself ready; None: however old."""

    @property
    def log(self) -> EventLog:
        """Takes decisions before they are answered; this worker's alone."""

    @property
    def finders(self) -> Mapping[str, DecisionFinder]:
        """Look decisions up, by the name of their log."""

    @property
    def claims(self) -> ClaimBook | None:
        """Settles who answers an id that a client chose, where workers see each other's logs."""

    @property
    def deltas(self) -> DeltaReader:
        """What has changed."""

    @property
    def snapshots(self) -> SnapshotReader:
        """Where to begin."""

    @property
    def nudges(self) -> Nudges:
        """What to wait at for changes."""

    def partition_of(self, user_id: str) -> int:
        """Which of the marks of users says how far this one's rows are."""

    def intake(self, writer: GroupWriter) -> EventIntake:
        """Where accepted events go; `writer` commits groups to `log`."""

    def late_gates(
        self, watermark: Callable[[], int], history_watermark: Callable[[], int]
    ) -> Mapping[bool, LateGate]:
        """What holds events against the watermark before they are accepted, by whether they are history;
        asked with the watermarks that the rows have brought here."""

    def notify(self, position: int) -> None:
        """Something was committed to `log`, up to `position`; on the writer's thread."""

    def bury(self, letters: list[DeadLetter]) -> None:
        """Keep what was refused; on the writer's thread."""

    def applied(self, seq: int) -> None:
        """The changes of `deltas` up to `seq` are part of what is served."""

    def start(self) -> None:
        """Begin what threads of its own do, before the first request."""

    def stop(self) -> None:
        """End it, once nothing more is logged or applied; may take a stated while."""

    def close(self) -> None:
        """Close files and connections."""

    def lost(self) -> str:
        """Which file was deleted or replaced underneath; then nothing more is logged. Empty when none was."""

    def why_not_caught_up(self) -> str:
        """What of the rows that were there at the start is still to come; empty when nothing is."""

    def why_not_ready(self) -> str:
        """What else is missing before anybody should ask; empty when nothing is."""

    def degraded(self) -> str:
        """What is wrong while answers are still given; empty when nothing is."""

    def oldest_waiting(self) -> Mapping[str, float]:
        """When the oldest event was accepted, wall ms, that the rows of a kind do not know, by kind.

        Kinds for which nothing waits are left out; see `serving.freshness.Freshness`.
        """

    def figures(self) -> dict[str, float]:
        """Gauges of its own, by name, read at each scrape."""
