"""Keeps a handful of child processes alive and ends them in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, cast

from freshet.errors import StartError
from stream.clock import Clock

__all__ = ["HOPELESS", "ProcessSpec", "Supervisor"]

HOPELESS = 3
"""Exit code of a child that would end the same way however often it is started."""

_RESTART_WINDOW_S = 60.0
_MAX_RESTARTS = 10
"""More restarts of one child within the window than this, and the supervisor gives up, saying so."""


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One child: `arguments` follow the interpreter; `pass_fds` stay open in it.

    `given` is its standard input, at most a pipe's 64 KiB. Settings, which may hold tokens, go in there:
    arguments can be read by every user of the machine.
    """

    name: str
    arguments: tuple[str, ...]
    pass_fds: tuple[int, ...] = ()
    given: bytes = b""


@dataclass(slots=True)
class _Child:
    spec: ProcessSpec
    process: subprocess.Popen[bytes]
    restarts: list[float] = field(default_factory=list)


class Supervisor:
    """Starts children, restarts those that die, stops them in the order in which they were given.

    Every child gets the reading end of a pipe as ``FRESHET_LIFELINE``: when the supervisor itself is killed,
    the pipe closes and the children end too, so no orphan keeps a data folder busy.
    """

    def __init__(self, specs: Sequence[ProcessSpec], clock: Clock) -> None:
        self._specs = list(specs)
        self._clock = clock
        self._children: dict[str, _Child] = {}
        self._lifeline_read, self._lifeline_write = os.pipe()
        self.restarts = 0

    def start(self) -> None:
        """Start every child."""
        for spec in self._specs:
            self._children[spec.name] = _Child(spec, self._spawn(spec))

    def pid(self, name: str) -> int:
        """Process id of a child, for those who want to signal it."""
        return self._children[name].process.pid

    def watch(self) -> None:
        """Restart whoever has died since the last call.

        Raises:
            StartError: a child keeps dying, or says that starting it again cannot help; its last exit code is
                named.
        """
        for child in self._children.values():
            code = child.process.poll()
            if code is None:
                continue
            if code == HOPELESS:
                msg = f"process {child.spec.name!r} cannot start, see its message above; run `freshet doctor`"
                raise StartError(msg)
            now = self._clock.monotonic_s()
            child.restarts = [at for at in child.restarts if now - at < _RESTART_WINDOW_S]
            if len(child.restarts) >= _MAX_RESTARTS:
                msg = (
                    f"process {child.spec.name!r} ended {_MAX_RESTARTS + 1} times within a minute, last with "
                    f"code {code}; see its messages above, and run `freshet doctor`"
                )
                raise StartError(msg)
            child.restarts.append(now)
            self.restarts += 1
            print(f"freshet: {child.spec.name} ended with code {code}; starting it again", file=sys.stderr)  # noqa: T201
            child.process = self._spawn(child.spec)

    def stop(self, timeout_s: float = 30.0) -> dict[str, int]:
        """End the children one after the other: ask, wait, then kill; returns their exit codes."""
        codes: dict[str, int] = {}
        for name, child in self._children.items():
            if child.process.poll() is None:
                child.process.send_signal(signal.SIGTERM)
            try:
                codes[name] = child.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                child.process.kill()
                codes[name] = child.process.wait()
        self._children.clear()
        os.close(self._lifeline_read)
        os.close(self._lifeline_write)
        return codes

    def _spawn(self, spec: ProcessSpec) -> subprocess.Popen[bytes]:
        # `-m` would look for modules in the folder where the user stands first: a stranger's `queue.py` there
        # must not run. The variable is for children of the child.
        lifeline = {"FRESHET_LIFELINE": str(self._lifeline_read), "PYTHONSAFEPATH": "1"}
        environment = {**os.environ, **lifeline}
        process = subprocess.Popen(
            [sys.executable, "-P", *spec.arguments],
            stdin=subprocess.PIPE,
            pass_fds=(*spec.pass_fds, self._lifeline_read),
            env=environment,
            # A terminal's Ctrl-C must reach the supervisor alone, which ends the children in order.
            start_new_session=True,
        )
        # A child that died at once is met by the next `watch`.
        with suppress(BrokenPipeError), cast(IO[bytes], process.stdin) as pipe:
            pipe.write(spec.given)
        return process
