"""Only what trains a network needs torch: all else is imported, and runs, where there is none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_EVERY_MODULE = """
import sys
from pathlib import Path
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


def test_where_it_is_missing_what_trains_a_network_says_at_startup_how_to_install_it(tmp_path: Path) -> None:
    config = tmp_path / "freshet.toml"
    config.write_text('[[policies]]\nkind = "neu_fast_cb"\n')
    without = "import sys; sys.modules['torch'] = None; from freshet.cli import main; main()"
    ran = subprocess.run(
        [sys.executable, "-c", without, "up", "--data", str(tmp_path / "data"), "--config", str(config)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = " ".join(ran.stderr.split())
    assert ran.returncode and "kind 'neu_fast_cb' needs torch, which is not installed" in said, said
    assert "run pip install 'freshet[neural]'" in said
    assert not (tmp_path / "data").exists()
