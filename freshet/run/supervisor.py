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

from learning.errors import SettingsError, StartError
from stream.clock import OFFSET_VARIABLE, Clock
from stream.errors import SnapshotError, may_pass
from stream.open_files import in_words

__all__ = ["HOPELESS", "LATER", "ProcessSpec", "Supervisor", "exit_code"]

HOPELESS = 3
"""Exit code of a child that would end the same way however often it is started."""

LATER = 75
"""Exit code of a child that cannot go on for a cause outside, which may pass: a full disk, say."""

_RESTART_WINDOW_S = 60.0
_MAX_RESTARTS = 10
"""At once one child is started again so often within the window; more, and it has to wait."""
_LONGEST_WAIT_S = 30.0


def exit_code(error: Exception) -> int:
    """What a child ends with after `error`.

    Example:
        >>> exit_code(StartError()) == HOPELESS, exit_code(OSError(28, "")) == LATER, exit_code(ValueError())
        (True, True, 1)
    """
    # A snapshot that cannot be read stays so.
    if isinstance(error, SettingsError | SnapshotError | StartError):
        return HOPELESS
    return LATER if may_pass(error) else 1


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
    began_s: float
    restarts: list[float] = field(default_factory=list)
    waits: int = 0
    due_s: float | None = None


class Supervisor:
    """Starts children, restarts those that die, stops them in the order in which they were given.

    A child that dies is started again at once, up to ten times within a minute. Before all have come up
    (`came_up`) one more time is the end: it would never come up. Later the others are worth more than the
    end: it is started again after 1, 2, 4, … 30 s, for as long as it takes. So is, from the first time and at
    any time, a child that ends with `LATER`.

    Every child gets the reading end of a pipe as ``FRESHET_LIFELINE``: when the supervisor itself is killed,
    the pipe closes and the children end too, so no orphan keeps a data folder busy.
    """

    def __init__(self, specs: Sequence[ProcessSpec], clock: Clock) -> None:
        self._specs = list(specs)
        self._clock = clock
        self._children: dict[str, _Child] = {}
        self._lifeline_read, self._lifeline_write = os.pipe()
        self.restarts = 0
        self.came_up = False

    def start(self) -> None:
        """Start every child."""
        for spec in self._specs:
            self._children[spec.name] = _Child(spec, self._spawn(spec), self._clock.monotonic_s())

    def pid(self, name: str) -> int:
        """Process id of a child, for those who want to signal it."""
        return self._children[name].process.pid

    def watch(self) -> None:
        """Restart whoever has died since the last call, or whose wait is over.

        Raises:
            StartError: a child keeps dying before it has come up, or says that starting it again cannot help;
                its last exit code is named.
        """
        self._clock.now_ms()  # a leap is seen between two looks
        for child in self._children.values():
            code = child.process.poll()
            if code is None:
                continue
            now = self._clock.monotonic_s()
            if child.due_s is None:
                child.due_s = now + self._wait_s(child, code, now)
                when = f" in {child.due_s - now:.0f} s" if child.due_s > now else ""
                print(  # noqa: T201
                    f"freshet: {child.spec.name} ended with code {code}; starting it again{when}",
                    file=sys.stderr,
                )
            if now < child.due_s:
                continue
            try:
                child.process = self._spawn(child.spec)
            except OSError as error:
                # No more processes or files just now, which ends as little as a full disk does.
                child.due_s = now + self._wait_s(child, LATER, now)
                said = f"{child.spec.name} cannot be started: {in_words(error)}; again later"
                print(f"freshet: {said}", file=sys.stderr)  # noqa: T201
                continue
            self.restarts += 1
            child.began_s, child.due_s = now, None

    def _wait_s(self, child: _Child, code: int, now: float) -> float:
        """How long a child that ended stays away."""
        if code == HOPELESS:
            msg = f"process {child.spec.name!r} cannot start, see its message above; run `freshet doctor`"
            raise StartError(msg)
        if now - child.began_s >= _RESTART_WINDOW_S:
            child.waits = 0
        child.restarts = [at for at in child.restarts if now - at < _RESTART_WINDOW_S]
        waited = self.came_up and child.waits > 0
        if code != LATER and not waited and len(child.restarts) < _MAX_RESTARTS:
            child.restarts.append(now)
            return 0.0
        if code != LATER and not self.came_up:
            msg = (
                f"process {child.spec.name!r} ended {_MAX_RESTARTS + 1} times within a minute, last with "
                f"code {code}; see its messages above, and run `freshet doctor`"
            )
            raise StartError(msg)
        child.waits += 1
        return min(_LONGEST_WAIT_S, 2.0 ** (child.waits - 1))

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
        # must not run, nor in children of the child.
        lifeline = {"FRESHET_LIFELINE": str(self._lifeline_read), "PYTHONSAFEPATH": "1"}
        # A child that starts while the clock is wrong must not believe it.
        self._clock.now_ms()
        offset_ms = self._clock.steady.offset_ms
        steady = {} if offset_ms is None else {OFFSET_VARIABLE: repr(offset_ms)}
        environment = {**os.environ, **lifeline, **steady}
        process = subprocess.Popen(
            [sys.executable, *spec.arguments],
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
