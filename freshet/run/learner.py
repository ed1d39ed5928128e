"""The learner process: `python -m freshet.run.learner DATA WORKERS`, started by the supervisor.

Settings come as JSON on standard input.
"""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path

import msgspec

from freshet.config import Settings, settings_digest
from freshet.errors import StartError
from freshet.pipeline import Pipeline
from freshet.run.lifeline import StopFlag, watch_lifeline
from freshet.run.supervisor import HOPELESS
from freshet.run.warm import warm_frames
from stream.clock import WallClock
from stream.commits import CommitLog
from stream.engine import LocalEngine, NudgeSocket, SocketNotifier
from stream.errors import DiskFullError, FreshetError, SnapshotError
from stream.folder import DataFolder
from stream.log import SQLiteLogReader
from stream.scrub import LearnerScrub

__all__ = ["build_engine", "fingerprint", "main"]

_DISK_FULL_S = 5.0


def fingerprint(settings: Settings) -> str:
    """Names the settings that learned state depends on; serving and addresses do not matter."""
    plain = Settings()
    relevant = msgspec.structs.replace(
        settings,
        workers=1,
        host="",
        port=0,
        serve=plain.serve,
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
        Pipeline(settings, folder.key),
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


def _learn(path: Path, settings: Settings, workers: int, stop: StopFlag) -> bool:
    """Recover and learn until told to stop; False when the disk was full, and all is to be taken up anew."""
    folder = DataFolder(path)
    nudges = NudgeSocket(folder.socket_path("learner"))
    commits, sources = folder.commit_log(settings.engine), folder.readers()
    try:
        engine = build_engine(folder, commits, sources, settings, workers=workers, nudges=nudges)
        gc.disable()  # as while it runs: what a snapshot brings stays, and would be walked time and again
        try:
            engine.recover()
        except SnapshotError as error:
            raise StartError(str(error)) from error
        engine.run(stop)
    except DiskFullError:
        return stop()
    finally:
        commits.close()
        nudges.close()
        for source in sources.values():
            source.close()
    return True


def main(arguments: list[str]) -> int:
    """Learn until told to stop; 0 after a clean stop.

    Else 1 or, where a restart cannot help, `HOPELESS`, with a reason on standard error.
    """
    logging.basicConfig(level=logging.WARNING, format="freshet learner: %(message)s", stream=sys.stderr)
    path, workers = arguments
    stop = StopFlag()
    stop.on_signals()
    watch_lifeline()
    log = logging.getLogger(__name__)
    try:
        settings = msgspec.json.decode(sys.stdin.buffer.read(), type=Settings)
        warm_frames(settings)
        while not _learn(Path(path), settings, int(workers), stop):
            # Serving goes on meanwhile, and says that it is stale; what was accepted waits in its files.
            log.warning("there is no room on the disk; trying again every %d s", _DISK_FULL_S)
            stop.wait(_DISK_FULL_S)
    except FreshetError as error:
        log.error("%s", error)
        return HOPELESS if isinstance(error, StartError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
