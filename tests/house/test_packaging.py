"""The wheel: what is in it, and that it runs the loop from any folder of a machine that has only it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

# In CI the environment is truly empty and the dependencies are fetched; elsewhere those of the running
# environment are lent to it, which takes seconds and no network. Our own code is the wheel's both times.
FETCH = os.environ.get("CI") == "true"


def _run(*command: str | Path, cwd: Path) -> str:
    """Run `command` outside the checkout and give its output; fail with all it said."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "FRESHET_"))}
    ran = subprocess.run(
        command, cwd=cwd, env=clean, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert ran.returncode == 0, f"{' '.join(map(str, command))}\n{ran.stdout[-8000:]}"
    return ran.stdout


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our wheel, built from our source archive as a distributor would."""
    folder = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, root, cwd=folder)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of an environment that holds our wheel and not this checkout."""
    home = tmp_path_factory.mktemp("environment")
    _run(sys.executable, "-m", "venv", "--without-pip", home, cwd=home)
    python = home / "bin" / "python"
    arguments = [] if FETCH else ["--no-deps"]
    _run(sys.executable, "-m", "pip", "--python", python, "install", "-q", *arguments, wheel, cwd=home)
    if not FETCH:
        # A path file appends the folder but not the path files inside it, so our editable install stays out.
        site = next((home / "lib").glob("python*/site-packages"))
        (site / "lent.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return home / "bin"


def test_the_wheel_holds_the_rooms_and_nothing_else(wheel: Path, root: Path) -> None:
    tool = Path(sys.executable).with_name("check-wheel-contents")
    _run(tool, "--config", root / "pyproject.toml", wheel, cwd=wheel.parent)


def test_the_rooms_come_from_the_wheel(
    environment: Path, room_names: tuple[str, ...], tmp_path: Path
) -> None:
    program = f"import {', '.join(room_names)}; print(*(m.__file__ for m in ({', '.join(room_names)})))"
    files = _run(environment / "python", "-c", program, cwd=tmp_path).split()
    assert [file for file in files if not file.startswith(str(environment.parent))] == []


def test_the_wheel_runs_the_loop_from_another_folder(environment: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    _run(environment / "freshet", "demo", "--once", "--events", "300", "--json", report, cwd=tmp_path)
    found = json.loads(report.read_text(encoding="utf-8"))
    assert found["events"] == 300
    assert set(found["hit_at_20"]) >= {"uniform", "popular", "popular_half_life", "freshet"}
