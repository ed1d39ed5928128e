"""A user's own module that has the name of a room: refused by its path, never run in place of ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from freshet.siblings import ROOMS


def _python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("room", ["stream", "index", "learning"])
def test_a_room_that_is_a_strangers_is_refused_with_its_path(tmp_path: Path, room: str) -> None:
    stranger = tmp_path / f"{room}.py"
    stranger.write_text("print('the wrong one runs')")
    script = tmp_path / "app.py"
    script.write_text("import freshet")
    ran = _python(str(script), cwd=tmp_path.parent)
    assert ran.returncode == 1 and "the wrong one runs" not in ran.stdout
    last = ran.stderr.splitlines()[-1]
    assert (
        last.startswith("ImportError: Freshet has a package") and str(stranger) in last and "Rename" in last
    )


def test_a_strangers_package_that_was_imported_before_is_refused_too(tmp_path: Path) -> None:
    (tmp_path / "monitor").mkdir()
    (tmp_path / "monitor" / "__init__.py").touch()
    ran = _python("-c", "import monitor, freshet", cwd=tmp_path)
    assert str(tmp_path / "monitor" / "__init__.py") in ran.stderr.splitlines()[-1]


def test_a_command_does_not_run_what_lies_in_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / "stream.py").write_text("print('the wrong one runs')")
    ran = _python("-m", "freshet", "--version", cwd=tmp_path)
    assert ran.returncode == 0 and ran.stdout.startswith("freshet ")


def test_a_folder_that_is_no_package_is_no_stranger(tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    assert _python("-c", "import freshet.cli", cwd=tmp_path).returncode == 0


def test_every_room_is_looked_at() -> None:
    folders = {path.parent.name for path in Path(__file__).parents[2].glob("*/py.typed")}
    assert {*ROOMS, "freshet"} == folders
