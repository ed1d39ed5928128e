"""A package of others with a policy: found by its entry point, and run like ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent

pytestmark = pytest.mark.timeout(600)


def _run(*command: str | Path, path: Path | None = None) -> str:
    """Run it, with `path` before all else on Python's path; what it printed."""
    others = os.environ.get("PYTHONPATH")
    more = {} if path is None else {"PYTHONPATH": os.pathsep.join(filter(None, [str(path), others]))}
    ran = subprocess.run(command, env={**os.environ, **more}, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"{ran.stdout[-4000:]}\n{ran.stderr[-4000:]}"
    return ran.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the plugin was installed as pip does it."""
    folder = tmp_path_factory.mktemp("site")
    quiet = ["-q", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    _run(sys.executable, "-m", "pip", "install", *quiet, "--target", folder, HERE / "boltzmann")
    return folder


def test_it_is_listed_with_its_settings(installed: Path) -> None:
    out = _run(sys.executable, "-m", "freshet", "parts", "boltzmann", "--json", "-", path=installed)
    (found,) = json.loads(out)["policies"]
    assert found["package"] == "freshet-boltzmann" and found["what"].startswith("Boltzmann exploration")
    assert [(s["name"], s["default"]) for s in found["settings"]] == [("temperature", 0.1)]
    assert found["settings"][0]["meaning"].startswith("Reward by which")


def test_it_decides_and_learns_in_a_running_system(installed: Path, tmp_path: Path) -> None:
    out = _run(sys.executable, HERE / "boltzmann_loop.py", tmp_path / "data", path=installed)
    first, second = json.loads(out)
    assert first["policy"] == second["policy"] == "warm"
    assert first["items"][0]["propensity"] == 0.125
    best = first["items"][0]["item_id"]
    # One click in one impression is a mean of 1, twenty temperatures above all others.
    assert second["items"][0]["item_id"] == best and second["items"][0]["propensity"] > 0.99


def test_it_passes_the_contract_of_parts_as_ours_do(installed: Path) -> None:
    contract = HERE / "boltzmann_contract.py"
    out = _run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", contract, path=installed)
    assert " passed" in out
