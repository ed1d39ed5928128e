"""A serving process: `python -m freshet.run.worker DATA NUMBER FD`, started by the supervisor.

Settings come as JSON on standard input.
"""

from __future__ import annotations

import logging
import socket
import sys
from pathlib import Path

import msgspec

from bandits import warm_up
from freshet import __version__
from freshet.config import Settings
from freshet.run.lifeline import watch_lifeline
from freshet.run.supervisor import exit_code
from learning.choices import chosen_policies
from learning.parts import build_parts
from learning.starting import refusing_parts
from learning.warm_events import WARM_USERS
from learning.warm_frames import warm_frames
from serving.folder_backend import FolderBackend
from serving.service import Service, WorkerConfig
from serving.warm_answers import warm_serving
from serving.worker import run_worker
from stream.clock import Clock, WallClock
from stream.errors import FreshetError
from stream.folder import DataFolder
from stream.open_files import in_words
from stream.private import private_files

__all__ = ["folder_backend", "main", "warm", "worker_config"]


def worker_config(settings: Settings) -> WorkerConfig:
    """What a worker is told."""
    return WorkerConfig(
        mode=settings.clock,
        dim=settings.learn.embedding_dim,
        max_items=settings.learn.max_items,
        epsilon=settings.policy.epsilon,
        seed=settings.learn.seed,
        window_ms=settings.join.window_ms,
        version=__version__,
        serve=settings.serve,
        sources=settings.sources,
    )


def folder_backend(folder: DataFolder, settings: Settings, worker: int, clock: Clock) -> FolderBackend:
    """What worker number `worker` over a data folder stands on."""
    return FolderBackend(
        folder,
        clock,
        worker=worker,
        workers=settings.workers,
        engine=settings.engine,
        ready_lag_ms=settings.serve.ready_lag_ms,
        mode=settings.clock,
        lateness_ms=settings.join.lateness_ms,
    )


def main(arguments: list[str]) -> int:
    """Serve until told to stop; 0 after a clean stop.

    Else 1, `LATER` or, where a restart cannot help, `HOPELESS`, with a reason on standard error.
    """
    path, number, descriptor = arguments
    logging.basicConfig(
        level=logging.WARNING, format=f"freshet worker-{number}: %(message)s", stream=sys.stderr
    )
    watch_lifeline()
    private_files()
    try:
        settings = msgspec.json.decode(sys.stdin.buffer.read(), type=Settings)
        clock = WallClock()
        backend = folder_backend(DataFolder(Path(path), create=False), settings, int(number), clock)
        service = Service(backend, build_parts(settings), worker_config(settings), clock)
        run_worker(service, socket.socket(fileno=int(descriptor)), warm=lambda: warm(settings))
    except (FreshetError, OSError) as error:
        logging.getLogger(__name__).error("%s", in_words(error))
        return exit_code(error)
    return 0


def warm(settings: Settings) -> None:
    """Compile everything that requests will need.

    Raises:
        SettingsError: a part raises already then.
    """
    # Small reservations: these parts are thrown away.
    small = msgspec.structs.replace(settings.learn, max_items=4_096, max_users=4_096)
    scratch = msgspec.structs.replace(settings, learn=small)
    dim = settings.learn.embedding_dim
    warm_up([one.kind.name for one in chosen_policies(settings)])
    with refusing_parts():
        frames = warm_frames(scratch, trains=False)
        warm_serving(build_parts(scratch), frames, WARM_USERS, dim=dim, sources=settings.sources)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
