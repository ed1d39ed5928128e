"""Only what trains a network needs torch: all else is imported, and runs, where there is none."""

from __future__ import annotations

import subprocess
import sys

_EVERY_MODULE = """
import sys
sys.modules["torch"] = None  # as where it is not installed
from importlib import import_module
from pkgutil import walk_packages

rooms = ["freshet", "stream", "monitor", "learners", "index", "bandits", "learning", "replay", "serving"]
left = lambda name: name.startswith("learners.neural") or name.rpartition(".")[2] == "__main__"
names = [m.name for room in rooms for m in walk_packages(import_module(room).__path__, f"{room}.")]
for name in names:
    if not left(name):
        import_module(name)
print(sum(map(left, names)), len(names))
"""


def test_every_module_but_those_of_networks_is_imported_where_there_is_no_torch() -> None:
    ran = subprocess.run([sys.executable, "-c", _EVERY_MODULE], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-4_000:]
    left, n = map(int, ran.stdout.split())
    assert left < 20 and n > 300
