"""Only what trains a network needs torch, and a detector river: all else is imported, and runs, without."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize(
    ("command", "kind", "setting", "module", "line"),
    [
        ("up", "neu_fast_cb", "", "torch", "'freshet[neural]'"),
        ("up", "thompson", 'detector = "adwin"', "river", "river"),
        ("simulate", "thompson", 'detector = "adwin"', "river", "river"),
    ],
)
def test_where_it_is_missing_what_learns_with_it_says_at_startup_how_to_install_it(
    command: str, kind: str, setting: str, module: str, line: str, tmp_path: Path
) -> None:
    config = tmp_path / "freshet.toml"
    config.write_text(f'[[policies]]\nkind = "{kind}"\n{setting}\n')
    without = f"import sys; sys.modules['{module}'] = None; from freshet.cli import main; main()"
    more = ["--data", str(tmp_path / "data")] if command == "up" else []
    ran = subprocess.run(
        [sys.executable, "-c", without, command, *more, "--config", str(config)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = " ".join(ran.stderr.split())
    assert ran.returncode and f"kind '{kind}' needs {module}, which is not installed" in said, said
    assert f"run pip install {line}" in said
    assert not (tmp_path / "data").exists()
