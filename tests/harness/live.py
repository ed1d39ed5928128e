"""A harness of real parts: a worker on a real socket, and a learner's engine beside it, in threads.

Nothing is replaced: the same service, files, engine and protocol as in production, only fewer processes.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol

import uvicorn

from serving.service import Service
from stream.clock import WallClock
from stream.errors import FreshetError

__all__ = ["TIMEOUT_S", "Engine", "LiveLearner", "LiveWorker", "wait_until"]

TIMEOUT_S = 300.0
"""Room for whatever a test waits for: a machine may be slow and busy, and compile meanwhile."""

_SHORTEST_S, _LONGEST_S = 0.002, 0.05


class Engine(Protocol):
    """What a learner's thread runs; `stream.engine.LocalEngine` is one."""

    def recover(self) -> int:
        """Bring the state to the last commit."""

    def run(self, stop: Callable[[], bool]) -> None:
        """Learn until told to stop."""


def wait_until(condition: Callable[[], bool], *, timeout_s: float = TIMEOUT_S) -> None:
    """Return as soon as `condition` holds; the longer that takes, the more seldom it is looked at.

    Raises:
        FreshetError: it does not within `timeout_s`.
    """
    clock, waiting = WallClock(), threading.Event()
    began_s = clock.monotonic_s()
    while not condition():
        # Looks must not take the time of whoever is waited for, where there is one core for both.
        elapsed_s = clock.monotonic_s() - began_s
        if elapsed_s > timeout_s:
            msg = f"the condition did not come true within {timeout_s} s"
            raise FreshetError(msg)
        waiting.wait(min(max(elapsed_s / 20, _SHORTEST_S), _LONGEST_S))


class LiveLearner:
    """An engine in a thread; a context manager."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="learner", daemon=True)
        self.failed: FreshetError | None = None

    def __enter__(self) -> LiveLearner:
        """Start learning."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, and raise what went wrong."""
        self._stop.set()
        self._thread.join()
        if self.failed is not None:
            raise self.failed

    def _run(self) -> None:
        try:
            self._engine.recover()
            self._engine.run(self._stop.is_set)
        except FreshetError as error:
            self.failed = error


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Not in the main thread: signals are none of its business.
        yield


class LiveWorker:
    """A service behind uvicorn on a free port of loopback; a context manager.

    `url` is where it answers.
    """

    def __init__(self, service: Service) -> None:
        self.service = service
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        config = uvicorn.Config(
            service.app,
            http=service.connections.protocol,
            log_level="warning",
            ws="none",
            lifespan="on",
            timeout_keep_alive=service.config.serve.keep_alive_s,  # type: ignore[arg-type]
        )
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)

    def __enter__(self) -> LiveWorker:
        """Catch up and listen."""
        self.service.bootstrap()
        self._thread.start()
        wait_until(lambda: self._server.started)
        return self

    def learned_up_to(self) -> int:
        """Wall clock, ms: what was accepted by then is in the rows of every kind that is served."""
        marks = self.service.replica.marks
        return min(marks.absorbed_at, marks.items, marks.policies)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop as on SIGTERM."""
        self._server.should_exit = True
        self._thread.join()

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._listener]))
