"""The embedded system as one object: the folder's lock, the port, the processes."""

from __future__ import annotations

import http.client
import json
import logging
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType

import msgspec

from freshet.config import Settings
from freshet.run.listening import listen, require_files
from freshet.run.supervisor import ProcessSpec, Supervisor
from learning.choices import chosen_parts
from learning.errors import StartError
from learning.starting import startable_parts
from serving.auth import refuse_exposure
from serving.chosen_sources import SOURCES
from stream.clock import Clock
from stream.errors import FilesGoneError, StorageError
from stream.folder import DataFolder
from stream.housekeeping import Housekeeping
from stream.presence import Watch

__all__ = ["EmbeddedSystem"]

_log = logging.getLogger(__name__)


class EmbeddedSystem:
    """Workers and a learner over one data folder; a context manager that starts and stops them.

    The listening socket is opened here and handed to every worker, so a port in use is known at once and a
    restarted worker takes up where the killed one was. The lock of the data folder is held here.

    Raises:
        LogError: the data folder is in use, damaged or newer.
        StartError: the port is in use, or a process does not come up.
    """

    def __init__(self, data: Path, settings: Settings, clock: Clock) -> None:
        refuse_exposure(settings.host, settings.serve.auth, insecure=settings.serve.insecure)
        require_files()
        startable_parts(settings, chosen_parts(SOURCES, settings.sources), kafka=False, trains=True)
        self._settings, self._clock = settings, clock
        self.data = data.resolve()
        with ExitStack() as undo:
            # The port first: a system that cannot listen leaves no folder behind.
            self._socket = undo.enter_context(closing(listen(settings.host, settings.port)))
            self._folder = undo.enter_context(closing(DataFolder(self.data, exclusive=True)))
            self._folder.prepare(settings.workers)
            undo.pop_all()
        self.host = settings.host
        self.port = int(self._socket.getsockname()[1])
        given = msgspec.json.encode(settings)
        where = str(self._folder.path)
        count = str(settings.workers)
        workers = [
            ProcessSpec(
                f"worker-{n}",
                ("-m", "freshet.run.worker", where, str(n), str(self._socket.fileno())),
                (self._socket.fileno(),),
                given,
            )
            for n in range(settings.workers)
        ]
        learner = ProcessSpec("learner", ("-m", "freshet.run.learner", where, count), given=given)
        # Stopped in this order: the workers drain, then the learner takes what they left.
        self._supervisor = Supervisor([*workers, learner], clock)
        self._presence = self._folder.presence()  # as prepared: an older folder is raised by that
        self._watch = Watch(self._presence, clock)

    @property
    def url(self) -> str:
        """Where clients find it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def __enter__(self) -> EmbeddedSystem:
        """Start everything and wait until it is ready."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop everything in order."""
        self.stop()

    def start(self, timeout_s: float = 420.0) -> None:
        """Start the processes and wait until every one is ready.

        Raises:
            StartError: a process keeps dying, or it takes longer than `timeout_s`.
        """
        self._supervisor.start()
        try:
            self._wait_ready(timeout_s)
        except BaseException:
            self.stop()
            raise
        self._supervisor.came_up = True

    def watch(self) -> None:
        """Restart what has died, unless the data folder is no longer the one that was opened."""
        if not self._watch.lost():
            self._supervisor.watch()

    def pid(self, name: str) -> int:
        """Process id of ``learner`` or ``worker-0``."""
        return self._supervisor.pid(name)

    def stop(self) -> dict[str, int]:
        """Stop in order and release port and folder; the exit codes by name.

        Raises:
            LogError: files that were learned from are gone.
        """
        codes = self._supervisor.stop()
        self._socket.close()
        try:
            self._presence.refuse()
            self._folder.refuse_missing_files()
            self._finish_forgets()
        except StorageError as error:
            if isinstance(error, FilesGoneError):
                raise
            _log.warning("%s; forgets that wait are finished at the next start", error)
        finally:
            self._folder.close()
        return codes

    def index_recall(self) -> float | None:
        """recall@10 of the live index against brute force, as a worker last probed it."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        try:
            connection.request("GET", "/metrics")
            lines = connection.getresponse().read().decode("utf-8").splitlines()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
        values = [line.rsplit(" ", 1)[1] for line in lines if line.startswith("freshet_index_recall")]
        return float(values[0]) if values and values[0] != "NaN" else None

    def _finish_forgets(self) -> None:
        """Rewrite the workers' files for forgets that the learner took last, when the workers had ended."""
        folder, settings = self._folder, self._settings.engine
        commits, claims = folder.commit_reader(), folder.claims()
        try:
            if not commits.pending():
                return
            logs = {name: folder.writer(name, settings) for name in folder.sources()}
            chores = Housekeeping(logs, commits, settings, self._clock, claims)
            while not chores.run():
                self._clock.sleep_s(0.01)
            for log in logs.values():
                log.close()
        finally:
            claims.close()
            commits.close()

    def _wait_ready(self, timeout_s: float) -> None:
        deadline = self._clock.monotonic_s() + timeout_s
        reason = "no answer yet"
        while self._clock.monotonic_s() < deadline:
            self.watch()
            reason = self._why_not_ready()
            if not reason:
                return
            self._clock.sleep_s(0.05)
        msg = f"not ready after {timeout_s:.0f} s: {reason}; run `freshet doctor --data {self._folder.path}`"
        raise StartError(msg)

    def _why_not_ready(self) -> str:
        # The socket listens before a worker does, so a connection may wait until one accepts it.
        connection = http.client.HTTPConnection(self.host, self.port, timeout=1)
        try:
            connection.request("GET", "/readyz")
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            return f"no worker answers ({error})"
        finally:
            connection.close()
        if response.status == 200:
            return ""
        try:
            return str(json.loads(body).get("detail", body))
        except ValueError:
            return f"/readyz answered {response.status}"
