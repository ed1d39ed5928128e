"""The life of a worker process: compile, catch up, listen, drain."""

from __future__ import annotations

import ctypes
import gc
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from serving.service import Service

__all__ = ["run_worker"]

_SWITCH_S = 0.0001
_BACKLOG = 2_048

# Of glibc's <malloc.h>.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGE = 1 << 20


class _Server(uvicorn.Server):
    """uvicorn's server with signals left to us, so that a polite stop ends with status 0."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.handle_exit)
        yield


def _map_large_arrays() -> None:
    """Let arrays of a megabyte or more have mappings of their own, gone when they are freed.

    Left to itself glibc takes arrays of up to 32 MB from its heap once it has seen some of them freed: what a
    build of the graph or a grown table leaves behind then stays with the process, below something small.
    """
    try:
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, _LARGE)
        library.mallopt(_M_TRIM_THRESHOLD, _LARGE)
    except (OSError, AttributeError):
        return  # another C library than glibc, which does as it likes


def _return_memory() -> None:
    """Give back what reading the snapshot left free: a third of a gigabyte with a million items."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        return  # another C library than glibc, which keeps or returns it as it likes


def run_worker(service: Service, listener: socket.socket, *, warm: Callable[[], None] = lambda: None) -> None:
    """Serve on `listener` until SIGTERM or SIGINT; accepted events are committed before this returns.

    `warm` compiles what requests will need. The listening socket may be shared with other workers: this one
    accepts its first connection only when it has caught up.
    """
    _map_large_arrays()
    gc.disable()  # what comes into being until requests come stays, and would be walked time and again
    warm()
    service.bootstrap()
    # What lives now lives for ever: collections need not walk it, and a forked page stays shared.
    gc.collect()
    _return_memory()
    gc.freeze()
    gc.enable()
    gc.set_threshold(50_000, 20, 50)
    # The writer's and the index's threads need the interpreter for microseconds, again and again: a commit
    # asks for it half a dozen times, and every answer waits for its commit.
    sys.setswitchinterval(_SWITCH_S)
    service.connections.fit_files()
    config = uvicorn.Config(
        service.app,
        loop="uvloop",
        http=service.connections.protocol,
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=service.config.serve.keep_alive_s,  # type: ignore[arg-type]
        timeout_graceful_shutdown=service.config.serve.stop_timeout_s,
    )
    _Server(config).run(sockets=[listener])
