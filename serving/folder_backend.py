"""The embedded worker's backend: a data folder that a learner on the same machine shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from serving.backend import LogIntake
from serving.housekeeping import Housekeeper
from serving.writer import GroupWriter
from stream.clock import Clock
from stream.dead_letters import DeadLetter
from stream.engine import ClockMode, EngineSettings, NudgeSocket, SocketNotifier
from stream.errors import LogError
from stream.folder import DataFolder
from stream.history_marks import HistoryMarks
from stream.housekeeping import Housekeeping
from stream.lateness import EventTimeGate, LateGate, WallGate
from stream.presence import Watch
from stream.unlearned import Unlearned

__all__ = ["FolderBackend"]


class FolderBackend:
    """Files and sockets of worker number `worker` of `workers` in a prepared folder; a `Backend`.

    Args:
        folder: prepared (`DataFolder.prepare`); this worker writes ``events-<worker>.db`` in it.
        engine: bounds of the files.
        ready_lag_ms: how far what is served may lie behind for a worker that calls itself ready.
        clock: wall and monotonic time.
        mode, lateness_ms: as the learner has them.

    Raises:
        LogError: a file is missing, damaged, or written by another process.
    """

    def __init__(
        self,
        folder: DataFolder,
        clock: Clock,
        *,
        worker: int = 0,
        workers: int = 1,
        engine: EngineSettings | None = None,
        ready_lag_ms: int = 5_000,
        mode: ClockMode = "wall",
        lateness_ms: int = 600_000,
    ) -> None:
        engine = engine or EngineSettings()
        self._clock, self._mode = clock, mode
        self._times = lateness_ms, engine.tick_ms
        self._history = HistoryMarks(folder.history_path, worker)
        self.name = folder.source(worker)
        self.index_path, self.writes_index = folder.index_path, worker == 0
        self.ready_lag_ms = ready_lag_ms
        self._logs = {name: folder.writer(name, engine) for name in folder.owned(worker, workers)}
        self.log = self._logs[self.name]
        self.finders = folder.readers()
        self.deltas = folder.commit_reader()
        self.snapshots = folder.snapshot_store()
        self.claims = folder.claims() if workers > 1 else None
        self.nudges = NudgeSocket(folder.socket_path(f"worker-{worker}"))
        self._notifier = SocketNotifier([folder.socket_path("learner")])
        # Connections of their own: the housekeeper's thread must not make the event loop wait.
        commits, claims = folder.commit_reader(), folder.claims()
        learned, self._waiting_logs = folder.commit_reader(), folder.readers()
        self._chores = (commits, claims, learned)
        self._unlearned = Unlearned(self._waiting_logs, learned.positions)
        own = [log.database.path for log in self._logs.values()]
        self._watch = Watch(
            folder.presence([*own, commits.database.path, folder.claims_path], logs_of=own), clock
        )
        self._housekeeper = Housekeeper(
            Housekeeping(self._logs, commits, engine, clock, claims),
            lambda: [entry.id for entry in commits.pending()],
            self.lost,
            folder.path,
        )

    def partition_of(self, user_id: str) -> int:
        """One mark for all users."""
        return 0

    def intake(self, writer: GroupWriter) -> LogIntake:
        """Events go to the same log."""
        return LogIntake(writer)

    def late_gates(
        self, watermark: Callable[[], int], history_watermark: Callable[[], int]
    ) -> Mapping[bool, LateGate]:
        """By the wall clock; by events, what other workers accepted counts too."""
        live: LateGate = WallGate(self._times[0], self._clock.now_ms)
        if self._mode == "event":
            live = EventTimeGate(*self._times, history=False, known=lambda _: watermark())
        history = EventTimeGate(
            *self._times,
            history=True,
            known=lambda _: max(history_watermark(), self._history.newest),
            on_stored=lambda newest: self._history.put(max(newest.values(), default=-1)),
        )
        return {False: live, True: history}

    def notify(self, position: int) -> None:
        """Tell the learner."""
        self._notifier.notify(position, 0)

    def bury(self, letters: list[DeadLetter]) -> None:
        """Keep what was refused beside the events."""
        self.log.dead_letters.add(letters)

    def applied(self, seq: int) -> None:
        """Nothing depends on it here."""

    def start(self) -> None:
        """Begin to look after the files."""
        self._housekeeper.start()

    def stop(self) -> None:
        """End, after what is ready to be forgotten has been taken out."""
        self._housekeeper.stop()

    def close(self) -> None:
        """Close the files."""
        self.nudges.close()
        self._notifier.close()
        self._history.close()
        for reader in (*self.finders.values(), *self._waiting_logs.values()):
            reader.close()
        for log in self._logs.values():
            log.close()
        for other in (self.deltas, *self._chores, self.claims):
            if other is not None:
                other.close()

    def lost(self) -> str:
        """A file that was deleted or replaced underneath."""
        return self._watch.lost()

    def why_not_caught_up(self) -> str:
        """Nothing: `Replica.bootstrap` takes over all commits before the first request."""
        return ""

    def why_not_ready(self) -> str:
        """Forgets that were under way at the start."""
        return self._housekeeper.why_not_ready

    def degraded(self) -> str:
        """Nothing: whatever is wrong here keeps the worker from being ready."""
        return ""

    def oldest_waiting(self) -> Mapping[str, float]:
        """Of what stands in the workers' logs behind the learner's position."""
        try:
            return self._unlearned.oldest()
        except LogError:
            return {}  # the learner and readiness say what is wrong with the files

    def figures(self) -> dict[str, float]:
        """None beside those of every worker."""
        return {}
