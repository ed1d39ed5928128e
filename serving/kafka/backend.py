"""A serving worker's backend on Kafka: an outbox, the topic `events`, and rows from compacted topics."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

from learning.errors import StartError
from learning.parts import Parts
from serving.kafka.behind import EventsBehind
from serving.kafka.copies import Copies
from serving.kafka.drain import Drain
from serving.kafka.follow import RowReader, passed_over
from serving.kafka.intake import BrokerIntake
from serving.kafka.link import Link
from serving.kafka.outbox import DecisionOutbox
from serving.settings import ServingSettings
from serving.writer import GroupWriter
from stream.clock import Clock
from stream.dead_letters import DeadLetter
from stream.errors import BrokerAwayError
from stream.events import Event
from stream.kafka.partitioning import partition_of, routing_id
from stream.lateness import EventTimeGate, LateGate, WallGate
from stream.presence import Presence, Watch
from stream.private import mend_modes
from stream.room import has_free
from stream.steady import why_topics_ahead

__all__ = ["COPY", "KafkaBackend"]

COPY = "rows.snapshot"
"""File of a worker's folder that it can start from while the brokers are away."""

_LEAST_BYTES = 1 << 20
_STEPS = {"`items`": {"items", "policies"}, "`train`": {"trained"}}
_log = logging.getLogger(__name__)


class KafkaBackend:
    """What one worker on Kafka stands on; a `serving.backend.Backend`.

    `folder` is the worker's alone: ``outbox.db``, ``rows.snapshot``, ``index.snapshot``. Two workers know
    nothing of each other, so a request id is answered the same way again only by the worker that had it.

    Args:
        folder: made when it is not there.
        settings: of everything.
        parts: what is served; rows are applied to them by the service.
        clock: wall and monotonic time.
        topics: ids of the topics, or why nobody could be asked.

    Raises:
        LogError: the folder cannot be used, or another process uses it.
    """

    def __init__(
        self,
        folder: Path,
        settings: ServingSettings,
        parts: Parts,
        clock: Clock,
        *,
        topics: Mapping[str, str] | BrokerAwayError,
    ) -> None:
        self._settings, self._clock = settings, clock
        serve = settings.serve
        _make(folder)
        self._folder = folder
        self.log = DecisionOutbox(folder / "outbox.db", max_mb=serve.outbox_mb, keep_hours=serve.outbox_hours)
        # Ids of requests are made from it: folders of different machines must not share one.
        self.name = f"serve-{_token(folder)}"
        self.index_path, self.writes_index = folder / "index.snapshot", True
        self.ready_lag_ms = None
        self.finders = {self.name: self.log.finder}
        self._watch = Watch(Presence([folder, *self.log.files], contents=[folder / "name"]), clock)
        self.claims = None
        self._link = Link(settings.kafka, clock)
        if isinstance(topics, BrokerAwayError):
            self._link.failed(topics)
        self._copies = Copies(folder / COPY, settings)
        self.reader = RowReader(settings, parts, self._copies, clock, topics=topics, heard=self._link.heard)
        self.deltas = self.snapshots = self.nudges = self.reader
        # A tick, the commits behind it, and one tick more that a step may hold back.
        patience_ms = 2 * settings.engine.tick_ms + 1_000
        self._behind = EventsBehind(settings.kafka, clock, lambda: self.reader.marks, patience_ms)
        self._drain = Drain(self.log, self._link, clock)
        self._intake = BrokerIntake(
            self._link, clock, max_bytes=serve.max_queued_bytes, max_requests=serve.max_queued_requests
        )

    def partition_of(self, user_id: str) -> int:
        """The partition of `user-vectors` that holds this user."""
        return partition_of(user_id, self._settings.kafka.partitions)

    def intake(self, writer: GroupWriter) -> BrokerIntake:
        """Events go to the brokers; only decisions are committed here."""
        return self._intake

    def late_gates(
        self, watermark: Callable[[], int], history_watermark: Callable[[], int]
    ) -> Mapping[bool, LateGate]:
        """By what the workers have said of time; each partition of `events` has a time of its own."""
        times = self._settings.join.lateness_ms, self._settings.engine.tick_ms
        live: LateGate = WallGate(times[0], watermark)
        if self._settings.clock == "event":
            live = EventTimeGate(
                *times, history=False, known=lambda _: watermark(), partition_of=self._events_partition
            )
        history = EventTimeGate(
            *times, history=True, known=self.reader.history, partition_of=self._events_partition
        )
        return {False: live, True: history}

    def _events_partition(self, event: Event) -> int:
        return partition_of(routing_id(event), self._settings.kafka.partitions)

    def notify(self, position: int) -> None:
        """Decisions are to be sent."""
        self._drain.notify()

    def bury(self, letters: list[DeadLetter]) -> None:
        """Keep what was refused in the outbox's file."""
        self.log.dead_letters.add(letters)

    def applied(self, seq: int) -> None:
        """A copy may be written once all that was read is applied."""
        self.reader.applied(seq)

    def start(self) -> None:
        """Begin to watch the brokers and to send what waits."""
        self._link.start()
        self._drain.start()
        self._behind.start()
        self._intake.start()

    def stop(self) -> None:
        """Keep a copy of the rows, and send what waits for up to `serve.drain_s`."""
        self.reader.stop()
        self._behind.stop()
        self._intake.stop()
        self._copies.finish()
        self.reader.keep()
        if not self._link.away and not self._drain.finish(self._settings.serve.drain_s):
            _log.warning("%d decisions wait in %s for the next start", self.log.n_waiting, self._folder)
        self._drain.stop()
        self._link.stop()
        self._copies.finish()

    def close(self) -> None:
        """Close files and connections."""
        self.reader.close()
        self._link.close()
        self.log.close()

    # --- what is seen from outside ---

    def lost(self) -> str:
        """A file that was deleted or replaced underneath."""
        return self._watch.lost()

    def why_not_caught_up(self) -> str:
        """Rows that were in the topics at the start and are not served yet."""
        reader = self.reader
        if reader.caught_up:
            return ""
        if not reader.connected:
            return f"the brokers are not connected yet; {reader.trouble or 'a moment'}"
        return f"{reader.n_rows} rows are read, {reader.n_left} that were there at the start are to come"

    def why_not_ready(self) -> str:
        """Rows that cannot be followed any more, a thread that has ended, a step that stands still alone."""
        if self.reader.lost:
            return self.reader.lost
        if not has_free(self._folder, _LEAST_BYTES):
            return f"no room is left on the disk of {self._folder.name}: no decision can be kept; free space"
        if self._drain.alive and self._intake.alive:
            return "" if self._link.away else self._why_ahead() or self._why_not_even()
        return "nothing is sent to the brokers, which is unexpected: the log says why; restart this worker"

    def _why_ahead(self) -> str:
        marks = self.reader.marks
        newest = max(*marks.users, marks.items, marks.policies, marks.trained)
        return why_topics_ahead("what the workers say is learned", newest, self._clock.now_ms())

    def _why_not_even(self) -> str:
        """That another kind is left behind by the users, as where nobody runs the step `items` or `train`.

        All standing still together is what `degraded` tells: what is served fits together then, and no server
        is any better.
        """
        marks, most = self.reader.marks, self._settings.serve.ready_lag_ms
        behind = marks.lagging(marks.absorbed_at, most)
        if not behind:
            return ""
        named = ", ".join(
            f"{kind} ({lag} ms)" if getattr(marks, kind) else f"{kind} (nothing heard yet)"
            for kind, lag in behind.items()
        )
        steps = " and ".join(step for step, kinds in _STEPS.items() if not kinds.isdisjoint(behind))
        return (
            f"rows are behind those of users: {named}; at most {most} ms are allowed. Does a worker run the "
            f"step {steps} (`freshet work`), and does it keep up?"
        )

    def degraded(self) -> str:
        """That brokers or workers are away, or have other settings: answers go on from what is here."""
        now, marks = self._clock.now_ms(), self.reader.marks
        lag_ms = max(0, int(now) - marks.absorbed_at)
        if self._link.away:
            return (
                f"brokers away for {self._link.away_s:.0f} s ({self._link.away}); {self.log.n_waiting} "
                f"decisions wait in the outbox; what is served is {lag_ms} ms old"
            )
        if self.reader.trouble:
            return f"rows do not come: {self.reader.trouble}; what is served is {lag_ms} ms old"
        # Nobody but whoever runs it can mend that, so it is told before what passes by itself.
        differ = [passed_over(name, why) for name, why in self.reader.misfits.items()]
        if differ:
            return "; ".join(differ)
        most = self._settings.serve.ready_lag_ms
        lags = {"users": lag_ms} if lag_ms > most else {}
        lags |= marks.lagging(now, most)
        if not lags:
            return ""
        named = ", ".join(f"{kind} {lag} ms" for kind, lag in lags.items())
        return f"what is served is old: {named}; workers are behind or away"

    def oldest_waiting(self) -> Mapping[str, float]:
        """Of what stands in `events` behind the marks."""
        return self._behind.oldest()

    def figures(self) -> dict[str, float]:
        """The outbox, the brokers and the rows."""
        return {
            "broker_connected": float(not self._link.away),
            "broker_drops": self._link.drops,
            "outbox_records": self.log.n_waiting,
            "outbox_bytes": self.log.waiting_bytes,
            "outbox_sent": self._drain.sent,
            "follower_lag_records": self.reader.n_lag,
            "rows_read": self.reader.n_rows,
            "rows_refused": self.reader.n_refused,
            "items_without_row": self.reader.n_waiting,
            "row_copies": self._copies.written,
            "queued_events_bytes": self._intake.queued_bytes,
        }


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        msg = f"the folder {folder} cannot be made: {error.strerror or error}; choose another with --data"
        raise StartError(msg) from error
    if (folder / "freshet.json").exists():
        msg = f"{folder} is a data folder of `freshet up`; choose an empty one with --data"
        raise StartError(msg)
    mine = [path for pattern in ("outbox.db*", "*.snapshot", "name") for path in folder.glob(pattern)]
    mend_modes(folder, mine)


def _token(folder: Path) -> str:
    """Four random bytes of this folder, made with it."""
    path = folder / "name"
    if not path.exists() or not path.stat().st_size:  # a full disk may have left it empty
        path.touch(0o600)
        path.write_text(secrets.token_hex(4), "ascii")
    return path.read_text("ascii").strip()
