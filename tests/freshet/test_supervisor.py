"""Real children: restarted when killed, stopped in order, ended with their supervisor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from freshet.run.supervisor import HOPELESS, LATER, ProcessSpec, Supervisor
from learning.errors import StartError
from stream.clock import ManualClock, WallClock
from tests.harness.live import wait_until

CLOCK = WallClock()
SLEEPER = ("-c", "import signal, sys; signal.signal(15, lambda *_: sys.exit(7)); signal.pause()")
READY = ("-c", "import signal,sys,pathlib; signal.signal(15, lambda *_: sys.exit(7)); "
         "pathlib.Path(sys.argv[1]).touch(); signal.pause()")  # fmt: skip


def test_a_killed_child_is_started_again(tmp_path: Path) -> None:
    supervisor = Supervisor([ProcessSpec("a", SLEEPER)], CLOCK)
    supervisor.start()
    before = supervisor.pid("a")
    os.kill(before, signal.SIGKILL)

    def restarted() -> bool:
        supervisor.watch()
        return supervisor.restarts == 1

    wait_until(restarted)
    assert supervisor.pid("a") != before
    supervisor.stop()


def test_children_are_asked_to_stop_and_their_codes_come_back(tmp_path: Path) -> None:
    flag = tmp_path / "ready"
    supervisor = Supervisor([ProcessSpec("a", (*READY, str(flag)))], CLOCK)
    supervisor.start()
    wait_until(flag.exists)
    assert supervisor.stop() == {"a": 7}


def test_a_child_that_keeps_dying_is_given_up_with_its_code() -> None:
    # On a clock that stands still, for eleven starts may take longer than the minute that they may take.
    supervisor = Supervisor([ProcessSpec("a", ("-S", "-c", "raise SystemExit(4)"))], ManualClock())
    supervisor.start()

    def watch_forever() -> bool:
        supervisor.watch()
        return False

    with pytest.raises(StartError, match=r"'a' ended 11 times .* code 4"):
        wait_until(watch_forever)
    supervisor.stop()


def test_children_end_when_their_supervisor_is_killed(tmp_path: Path) -> None:
    flag = tmp_path / "pid"
    child = (
        "import os, pathlib, signal, sys; from freshet.run.lifeline import watch_lifeline; watch_lifeline(); "
        "p = pathlib.Path(sys.argv[1]); p.with_suffix('.new').write_text(str(os.getpid())); "
        "p.with_suffix('.new').rename(p); signal.pause()"
    )
    parent = (
        "import signal, sys; from freshet.run.supervisor import *; from stream.clock import WallClock; "
        "s = Supervisor([ProcessSpec('a', ('-c', sys.argv[1], sys.argv[2]))], WallClock()); s.start(); "
        "signal.pause()"
    )
    process = subprocess.Popen([sys.executable, "-c", parent, child, str(flag)])
    wait_until(flag.exists)
    orphan = int(flag.read_text())
    process.kill()
    process.wait()
    wait_until(lambda: not _alive(orphan))


def _alive(pid: int) -> bool:
    # A zombie whose parent is gone is reaped by init, or not at all in a bare container: it counts as ended.
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_what_a_child_is_given_stands_in_nobodys_process_list(tmp_path: Path) -> None:
    flag = tmp_path / "heard"
    heard = "pathlib.Path(sys.argv[1]).write_bytes(sys.stdin.buffer.read())"
    listen = f"import pathlib, signal, sys; {heard}; signal.pause()"
    supervisor = Supervisor([ProcessSpec("a", ("-c", listen, str(flag)), given=b"a token")], CLOCK)
    supervisor.start()
    wait_until(lambda: flag.exists() and flag.read_bytes() == b"a token")
    assert b"a token" not in Path(f"/proc/{supervisor.pid('a')}/cmdline").read_bytes()
    supervisor.stop()


def test_a_child_that_a_restart_cannot_help_is_not_started_again() -> None:
    supervisor = Supervisor([ProcessSpec("a", ("-c", f"raise SystemExit({HOPELESS})"))], CLOCK)
    supervisor.start()

    def watch_forever() -> bool:
        supervisor.watch()
        return False

    with pytest.raises(StartError, match="'a' cannot start"):
        wait_until(watch_forever)
    assert supervisor.restarts == 0
    supervisor.stop()


def test_no_child_runs_code_of_the_folder_where_it_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("queue", "http", "token", "monitor"):
        (tmp_path / f"{name}.py").write_text("open('ran', 'a').write(__name__)")
    monkeypatch.chdir(tmp_path)
    # Without settings both end at once, long after they have imported everything.
    modules = {"learner": ("freshet.run.learner", ".", "1"), "worker": ("freshet.run.worker", ".", "0", "0")}
    specs = [ProcessSpec(name, ("-m", *arguments)) for name, arguments in modules.items()]
    supervisor = Supervisor(specs, CLOCK)
    supervisor.start()
    wait_until(lambda: not any(_alive(supervisor.pid(name)) for name in modules))
    supervisor.stop()
    assert not (tmp_path / "ran").exists()


def test_freshet_itself_runs_no_code_of_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("open('ran', 'a').write(__name__)")
    ran = subprocess.run([sys.executable, "-m", "freshet", "--version"], cwd=tmp_path, capture_output=True)
    assert (ran.returncode, (tmp_path / "ran").exists()) == (0, False)


@pytest.mark.parametrize(("code", "came_up"), [(LATER, False), (LATER, True), (4, True)])
def test_a_cause_that_lasts_does_not_end_the_healthy(code: int, came_up: bool) -> None:
    """A child that ends again and again, for a cause outside or after it had worked, is waited for longer."""
    clock = ManualClock()
    dying = ProcessSpec("dying", ("-S", "-c", f"raise SystemExit({code})"))
    supervisor = Supervisor([ProcessSpec("healthy", SLEEPER), dying], clock)
    supervisor.start()
    supervisor.came_up = came_up
    healthy, waits = supervisor.pid("healthy"), []
    for _ in range(20):
        started, began_s = supervisor.restarts, clock.monotonic_s()
        wait_until(lambda: not _alive(supervisor.pid("dying")))
        while supervisor.restarts == started:
            supervisor.watch()
            clock.advance_ms(100)
        waits.append(round(clock.monotonic_s() - began_s))
    assert supervisor.pid("healthy") == healthy and _alive(healthy)
    assert max(waits) == 30
    assert waits[-9:] == sorted(waits[-9:])
    supervisor.stop()
