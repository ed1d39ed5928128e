"""The learner process: `python -m freshet.run.learner DATA WORKERS`, started by the supervisor.

Settings come as JSON on standard input.
"""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Mapping
from contextlib import ExitStack, closing
from hashlib import blake2b
from pathlib import Path

import msgspec

from freshet.config import Settings, settings_digest
from freshet.run.lifeline import StopFlag, watch_lifeline
from freshet.run.supervisor import exit_code
from learning.errors import StartError
from learning.pipeline import Pipeline
from learning.starting import refusing_parts
from learning.warm_frames import warm_frames
from stream.clock import Clock, WallClock
from stream.commits import CommitLog
from stream.engine import LocalEngine, NudgeSocket, SocketNotifier
from stream.errors import FreshetError, SnapshotError, StorageError, may_pass
from stream.folder import DataFolder
from stream.log import SQLiteLogReader
from stream.open_files import in_words
from stream.presence import Watch
from stream.private import private_files
from stream.room import has_room
from stream.scrub import LearnerScrub
from stream.steady import why_ahead

__all__ = ["build_engine", "fingerprint", "main", "refuse_future"]

_LONGEST_WAIT_S = 30.0
_GOOD_S = 60.0
_LOOK_S = 1.0
_ROOM_BYTES = 4 << 20
_log = logging.getLogger(__name__)


def fingerprint(settings: Settings) -> str:
    """Names the settings that learned state depends on; serving and addresses do not matter."""
    plain = Settings()
    relevant = msgspec.structs.replace(
        settings,
        workers=1,
        host="",
        port=0,
        serve=plain.serve,
        sources=(),
        estimators=(),
        measures=(),
        engine=plain.engine,
        kafka=plain.kafka,
        work=plain.work,
        shard=plain.shard,
    )
    return blake2b(settings_digest(relevant), digest_size=16).hexdigest()


def build_engine(
    folder: DataFolder,
    commits: CommitLog,
    sources: Mapping[str, SQLiteLogReader],
    settings: Settings,
    *,
    workers: int = 0,
    nudges: NudgeSocket | None = None,
) -> LocalEngine:
    """The engine over a data folder's commits and logs, not yet recovered; `workers` are told of commits."""
    return LocalEngine(
        Pipeline(settings, folder.key, late=True),
        sources,
        commits,
        folder.snapshot_store(),
        clock=WallClock(),
        mode=settings.clock,
        settings=settings.engine,
        fingerprint=fingerprint(settings),
        notifier=SocketNotifier([folder.socket_path(f"worker-{n}") for n in range(workers)]),
        nudges=nudges,
        scrubs=LearnerScrub(commits, sources, folder.key),
    )


def refuse_future(engine: LocalEngine, folder: DataFolder, settings: Settings) -> None:
    """Go on only where time has come as far as what was learned.

    Raises:
        StartError: the clock was wrong, or is.
    """
    now_ms, watermark = WallClock().now_ms(), engine.watermark if settings.clock == "wall" else 0
    what = f"what was learned in {folder.path}"
    if why := why_ahead(what, max(engine.absorbed_at, watermark), now_ms):
        raise StartError(why)


class _Patience:
    """How long to wait before all is taken up anew: 1, 2, 4, … 30 s; a good minute begins it again."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began_s = clock.monotonic_s()
        self._waits = 0

    def next_s(self) -> float:
        """The next wait, which begins now."""
        if self._clock.monotonic_s() - self._began_s > _GOOD_S:
            self._waits = 0
        self._waits += 1
        wait_s = min(_LONGEST_WAIT_S, 2.0 ** (self._waits - 1))
        self._began_s = self._clock.monotonic_s() + wait_s
        return wait_s


def _learn(folder: DataFolder, settings: Settings, workers: int, stop: StopFlag) -> None:
    """Recover and learn until told to stop.

    Raises:
        StorageError: the disk refuses, or files are gone; nothing that was committed is lost.
        StartError: there are snapshots and none can be read.
    """
    with ExitStack() as undo:
        nudges = undo.enter_context(closing(NudgeSocket(folder.socket_path("learner"))))
        sources = folder.readers()
        for source in sources.values():
            undo.callback(source.close)
        commits = undo.enter_context(closing(folder.commit_log(settings.engine)))
        commits.sync()  # a disk without room for a page is found here, before a snapshot is read in vain
        engine = build_engine(folder, commits, sources, settings, workers=workers, nudges=nudges)
        files = [commits.database.path, *map(folder.events_path, sources)]
        watch = Watch(folder.presence(files), WallClock())
        gc.disable()  # as while it runs: what a snapshot brings stays, and would be walked time and again
        try:
            engine.recover()
        except SnapshotError as error:
            raise StartError(str(error)) from error
        refuse_future(engine, folder, settings)

        def told() -> bool:
            watch.refuse()
            return stop()

        engine.run(told)


def _learn_on(folder: DataFolder, settings: Settings, workers: int, stop: StopFlag) -> None:
    """Learn until told to stop; what the disk refuses is tried again for as long as it takes.

    Serving goes on meanwhile, and says that it is stale; what was accepted waits in its files.
    """
    patience = _Patience(WallClock())
    while True:
        try:
            folder.refuse_lost()
            folder.refuse_missing_files()
            _learn(folder, settings, workers, stop)
            return
        except (StorageError, OSError) as error:
            if not may_pass(error):
                raise
            why = in_words(error)
        gc.collect()  # the state, which is read anew: both at once are too much
        if stop():
            _log.warning("%s; what was accepted waits in its files for the next start", why)
            return
        wait_s = patience.next_s()
        _log.warning("%s; trying again in %.0f s", why, wait_s)
        _wait(folder.path, wait_s, stop)
        if stop():
            return


def _wait(folder: Path, wait_s: float, stop: StopFlag) -> None:
    """Wait; where the disk is full, not beyond the moment when there is room."""
    clock = WallClock()
    until_s, full = clock.monotonic_s() + wait_s, not has_room(folder, _ROOM_BYTES)
    while not stop() and (left_s := until_s - clock.monotonic_s()) > 0:
        stop.wait(min(_LOOK_S, left_s))
        if full and has_room(folder, _ROOM_BYTES):
            return


def main(arguments: list[str]) -> int:
    """Learn until told to stop; 0 after a clean stop.

    Else 1, `LATER` or, where a restart cannot help, `HOPELESS`, with a reason on standard error.
    """
    logging.basicConfig(level=logging.WARNING, format="freshet learner: %(message)s", stream=sys.stderr)
    path, workers = arguments
    stop = StopFlag()
    stop.on_signals()
    watch_lifeline()
    private_files()
    try:
        settings = msgspec.json.decode(sys.stdin.buffer.read(), type=Settings)
        with refusing_parts():
            warm_frames(settings)
        _learn_on(DataFolder(Path(path), create=False), settings, int(workers), stop)
    except (FreshetError, OSError) as error:
        _log.error("%s", in_words(error))
        return exit_code(error)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
