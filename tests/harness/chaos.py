"""Real processes to kill: a writer and a learner on a data folder, and what must hold after any killing.

Run as ``python -m tests.harness.chaos writer FOLDER SOURCE FIRST ACKS FORGETS EVENTS`` or ``… learner
FOLDER STEP``. Step and events are named ``module:factory``, so a whole pipeline is tried with the same
harness; the events' factory makes a record of three clicks with the event ids ``e<first>`` and on.
"""

from __future__ import annotations

import importlib
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import cast

import numpy as np

from stream.clock import WallClock
from stream.codec import encode_events
from stream.commits import CommitLog, CommitReader, Span, TickMark
from stream.engine import Driver, EngineSettings, LocalEngine, NudgeSocket, SocketNotifier
from stream.events import Click, Decision, Forget, Impression, ItemEvent, LoggedEvent
from stream.folder import DataFolder
from stream.frame import Frame, pack
from stream.housekeeping import Housekeeping
from stream.log import EventReader, Record
from stream.scrub import LearnerScrub
from stream.step import Step
from stream.testing_log import clicks
from tests.harness.live import wait_until

__all__ = [
    "SETTINGS",
    "ArchivingCommits",
    "Chaos",
    "make_step",
    "mixed_events",
    "plain_clicks",
    "undisturbed",
]

SETTINGS = EngineSettings(tick_ms=20, batch_records=7, snapshot_s=0.15, forget_s=0.1, idle_ms=5)
_PER_LIFE = 1_000_000
_MOST_AHEAD = 2_000
"""Records that a writer may be ahead of the learner, so that what is left at the end is soon learned."""
_LOOK_EVERY = 64


def make_step(name: str) -> Step:
    """Build a step from ``module:factory``."""
    return cast(Callable[[], Step], _named(name))()


def _named(name: str) -> object:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def mixed_events(first: int, accepted_at: int) -> Record:
    """An item, a decision, a foreign impression, and an attributed, an organic and an orphaned click."""
    rng = np.random.default_rng(first)
    shown = [f"i{n}" for n in rng.choice(40, 5, replace=False)]
    user, request = f"u{first % 97}", f"r{first}"
    decision = Decision(
        request_id=request, ts=accepted_at, user_id=user, items=shown[:4], propensities=[0.5] * 4,
        policy="diag_lin_ucb", clusters=[1, 2], weights=[0.75, 0.25], others=shown[4:], explored=[2],
        features=np.asarray(rng.normal(size=(5, 5)), "<f4").tobytes(),
    )  # fmt: skip
    events: list[LoggedEvent] = [
        ItemEvent(item_id=shown[0], ts=accepted_at),
        decision,
        Impression(request_id=f"x{first}", ts=accepted_at, user_id=user, items=shown[:2]),
        Click(ts=accepted_at, request_id=request, item_id=shown[1], event_id=f"e{first}"),
        Click(ts=accepted_at, user_id=user, item_id=shown[2], event_id=f"e{first + 1}"),
        Click(ts=accepted_at, user_id=user, request_id=f"no{first}", item_id="i0", event_id=f"e{first + 2}"),
    ]
    return Record("events", encode_events(events), accepted_at)


def plain_clicks(first: int, accepted_at: int) -> Record:
    """Three organic clicks of one user."""
    return clicks(first, 3, accepted_at=accepted_at, user_id=f"person-{first}-")


class ArchivingCommits(CommitLog):
    """Commits that keep the merge order for ever, so that an undisturbed run can follow it from the start."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with self.database.transaction(durable=False) as connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS archive(seq INTEGER PRIMARY KEY, merge BLOB, frame BLOB)"
            )

    def commit(self, *args: object, **kwargs: object) -> None:
        """Commit, and copy the order once more."""
        super().commit(*args, **kwargs)  # type: ignore[arg-type]
        self._archive()

    def keep_snapshots(self, kept: Mapping[int, Mapping[str, int]], *, at: int) -> None:
        """Trim, after copying what a killed process had committed and not copied."""
        self._archive()
        super().keep_snapshots(kept, at=at)

    def _archive(self) -> None:
        with self.database.transaction(durable=False) as connection:
            connection.execute("INSERT OR IGNORE INTO archive SELECT seq, merge, frame FROM commits")

    def order(self) -> Iterator[tuple[int, list[Span | TickMark], bytes]]:
        """Every commit since the folder was made: number, merge order, frame."""
        self._archive()
        for seq, merge, frame in self.database.read("SELECT seq, merge, frame FROM archive ORDER BY seq"):
            yield seq, self.decode_merge(merge), frame


def undisturbed(folder: DataFolder, step: Step, settings: EngineSettings) -> tuple[Frame, list[int]]:
    """Follow the committed order with a fresh step and no stop; the state, and commits that differ."""
    commits = ArchivingCommits(folder.learner_path)
    sources: dict[str, EventReader] = dict(folder.readers())
    driver, differing = Driver(step, "wall", settings.tick_ms), []
    for seq, merge, frame in commits.order():
        for entry in merge:
            if isinstance(entry, TickMark):
                driver.wall_tick(entry.ts)
                continue
            for record in sources[entry.source].read(entry.after, entry.count, 1 << 40):
                driver.feed(entry.source, record)
        driver.flush()
        if pack(step.take()) != frame:
            differing.append(seq)
    commits.close()
    return step.snapshot(), differing


class Chaos:
    """Starts writers and a learner on a folder, and kills them at random instants.

    Args:
        path: the data folder.
        n_writers: writing processes.
        step: the learner's step, ``module:factory``.
        rng: draws who dies and when.
        forgets: whether the writers also send forgets, and scrub their files.
        events: what the writers send, ``module:function``.
    """

    def __init__(
        self,
        path: Path,
        n_writers: int,
        step: str,
        rng: np.random.Generator,
        *,
        forgets: bool = False,
        events: str = "tests.harness.chaos:plain_clicks",
    ) -> None:
        self.folder = DataFolder(path / "data", exclusive=True)
        self.folder.prepare(n_writers)
        self._acks = path / "acks"
        self._acks.mkdir()
        self._rng = rng
        self._lives = 0
        self._step = step
        self._asked: set[int] = set()
        self._forgets, self._events = forgets, events
        names = ["learner", *(self.folder.source(w) for w in range(n_writers))]
        self._running = {name: self._start(name) for name in names}

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        self._lives += 1
        arguments = ["learner", str(self.folder.path), self._step]
        if name != "learner":
            first = str(self._lives * _PER_LIFE)
            arguments = ["writer", str(self.folder.path), name, first, str(self._acks / first)]
            arguments += ["forgets" if self._forgets else "", self._events]
        command = [sys.executable, "-m", "tests.harness.chaos", *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE)

    def kill(self, n_times: int, longest_s: float) -> None:
        """Let everything run for up to `longest_s`, kill -9 one or all, start again; `n_times` over."""
        for _ in range(n_times):
            names = list(self._running)
            victim = names[int(self._rng.integers(len(names)))]
            doomed = names if self._rng.random() < 0.25 else [victim]
            # Mostly in the middle of work, sometimes while it starts.
            if self._rng.random() < 0.8:
                self._wait_until_it_can_be_asked(self._running[victim])
            try:
                self._running[victim].wait(timeout=float(self._rng.uniform(0.2, longest_s)))
            except subprocess.TimeoutExpired:
                for name in doomed:
                    self._running[name].kill()
            for name in doomed:
                self._check_killed(name, self._running[name].wait())
                self._close(self._running[name])
                self._running[name] = self._start(name)

    @staticmethod
    def _close(process: subprocess.Popen[bytes]) -> None:
        if process.stdout is not None:
            process.stdout.close()

    @staticmethod
    def _check_killed(name: str, code: int) -> None:
        if code != -signal.SIGKILL:
            msg = f"{name} ended by itself with {code}; see its output above"
            raise RuntimeError(msg)

    def stop(self) -> None:
        """End all politely, once something was accepted: the writers, then the learner with the rest."""
        wait_until(lambda: bool(self.accepted()) and bool(self.forgotten() or not self._forgets))
        for name in sorted(self._running, key=lambda name: name == "learner"):
            process = self._running[name]
            self._wait_until_it_can_be_asked(process)
            process.terminate()
            if (code := process.wait()) != 0:
                msg = f"{name} did not stop cleanly: {code}; see its output above"
                raise RuntimeError(msg)
            self._close(process)

    def _wait_until_it_can_be_asked(self, process: subprocess.Popen[bytes]) -> None:
        if process.stdout is not None and process.pid not in self._asked:
            process.stdout.readline()
            self._asked.add(process.pid)

    def accepted(self) -> set[str]:
        """Event ids that a writer had seen accepted."""
        return {f"e{number}" for first in self._acked(b"") for number in range(first, first + 3)}

    def forgotten(self) -> set[str]:
        """User ids whose forget a writer had seen accepted."""
        return {f"person-{first}-" for first in self._acked(b"f")}

    def _acked(self, mark: bytes) -> Iterator[int]:
        for path in self._acks.iterdir():
            for line in path.read_bytes().split(b"\n")[:-1]:
                if line.startswith(mark) and line[len(mark) :].isdigit():
                    yield int(line[len(mark) :])


def _stop_on_terminate() -> Callable[[], bool]:
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    return lambda: bool(asked)


def _write(path: Path, source: str, first: int, acks: Path, forgets: bool, events: str) -> None:
    stop = _stop_on_terminate()
    make = cast(Callable[[int, int], Record], _named(events))
    folder, clock = DataFolder(path), WallClock()
    log, commits = folder.writer(source), folder.commit_reader()
    keeper = Housekeeping({source: log}, commits, SETTINGS, clock)
    learner = SocketNotifier([folder.socket_path("learner")])
    with acks.open("ab", buffering=0) as file:
        while not stop():
            now = int(clock.now_ms())
            (pos,) = log.append([make(first, now)], durable=first % 2 == 0)
            file.write(b"%d\n" % first)
            if forgets and first % 5 == 0:
                forget = Forget(user_id=f"person-{first}-", ts=now)
                (pos,) = log.append([Record("events", encode_events([forget]), now)])
                file.write(b"f%d\n" % first)
            learner.notify(pos, 0)
            first += 3
            while pos % _LOOK_EVERY == 0 and not stop() and _ahead(commits, source, pos) > _MOST_AHEAD:
                clock.sleep_s(0.01)
            if keeper.pending():
                keeper.run()
    log.close()


def _ahead(commits: CommitReader, source: str, pos: int) -> int:
    return pos - commits.positions().get(source, 0)


def _learn(path: Path, step: str) -> None:
    stop = _stop_on_terminate()
    folder = DataFolder(path)
    commits = ArchivingCommits(folder.learner_path)
    nudges = NudgeSocket(folder.socket_path("learner"))
    logs = folder.readers()
    engine = LocalEngine(
        make_step(step),
        logs,
        commits,
        folder.snapshot_store(),
        clock=WallClock(),
        settings=SETTINGS,
        nudges=nudges,
        scrubs=LearnerScrub(commits, logs, folder.key),
    )
    engine.recover()
    engine.run(stop)
    commits.close()


if __name__ == "__main__":
    if sys.argv[1] == "writer":
        folder, source, first, acks, forgets, events = sys.argv[2:]
        _write(Path(folder), source, int(first), Path(acks), bool(forgets), events)
    else:
        _learn(Path(sys.argv[2]), sys.argv[3])
