"""A restart with a million items: from snapshot and log to a system that says it is ready and answers.

The folder holds a snapshot with every item shown, the index of a system that served it, and 5,000 slates
committed behind both, as after a crash. The clock runs from the start of the processes (interpreter, imports,
compiled kernels from their cache) until ``/readyz`` says 200: the learner has recovered, the worker has
loaded the rows and its index answers. The answer of one `recommend` is checked.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks._folders import settings_for
from freshet.run import EmbeddedSystem
from stream.clock import WallClock

__all__ = ["fill", "run", "wait_for_index"]

_LONGEST_S = 1_200.0
_N_AFTER = 5_000


def fill(path: Path, n_items: int) -> None:
    """In a process of its own: its memory, files and locks must be gone before the restart."""
    _apart("fill_folder", path, n_items)


def _apart(name: str, path: Path, *numbers: int) -> None:
    code = (
        "import sys; from pathlib import Path; from benchmarks import _folders; "
        "getattr(_folders, sys.argv[1])(Path(sys.argv[2]), *map(int, sys.argv[3:]))"
    )
    subprocess.run([sys.executable, "-c", code, name, str(path), *map(str, numbers)], check=True)


def wait_for_index(path: Path, system: EmbeddedSystem, clock: WallClock) -> None:
    """Until the graph is built and on disk."""
    while not (path / "index.snapshot").exists():
        system.watch()
        clock.sleep_s(0.1)


def _serve_once(path: Path, clock: WallClock) -> None:
    """Run the system until its index is built and on disk."""
    system = EmbeddedSystem(path, settings_for(), clock)
    system.start(_LONGEST_S)
    try:
        wait_for_index(path, system, clock)
    finally:
        system.stop()


def _answers(system: EmbeddedSystem) -> int:
    connection = http.client.HTTPConnection(system.host, system.port, timeout=60)
    asked, json_type = json.dumps({"user_id": "user-1", "k": 20}), {"content-type": "application/json"}
    connection.request("POST", "/v1/recommend", asked, json_type)
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return len(answer["items"])


def run(quick: bool) -> list[dict[str, Any]]:
    """Seconds until ready; 100,000 items when `quick`, which is then another row."""
    n_items = 100_000 if quick else 1_000_000
    clock = WallClock()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        began_s = clock.monotonic_s()
        fill(data, n_items)
        _serve_once(data, clock)
        _apart("add_slates", data, n_items, _N_AFTER)
        filled_s = clock.monotonic_s() - began_s
        size = sum(path.stat().st_size for path in data.rglob("*") if path.is_file())
        system = EmbeddedSystem(data, settings_for(), clock)
        began_s = clock.monotonic_s()
        system.start(_LONGEST_S)
        ready_s = clock.monotonic_s() - began_s
        n_answered = _answers(system)
        system.stop()
    name = "restart_100k" if quick else "restart_1m"
    figures = {"items": n_items, "answered": n_answered, "folder_mb": size / 2**20, "filling_s": filled_s}
    return [{"name": name, "value": ready_s, "unit": "s", **figures}]
