"""Packages of others with a policy, a measure, an estimator: found by entry points, and run like ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from stream.events import Click, Decision, ItemEvent, LoggedEvent

HERE = Path(__file__).resolve().parent
T = 1_700_000_000_000


def _run(*command: str | Path, path: Path | None = None) -> str:
    """Run it, with `path` before all else on Python's path; what it printed."""
    others = os.environ.get("PYTHONPATH")
    more = {} if path is None else {"PYTHONPATH": os.pathsep.join(filter(None, [str(path), others]))}
    ran = subprocess.run(command, env={**os.environ, **more}, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"{ran.stdout[-4000:]}\n{ran.stderr[-4000:]}"
    return ran.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the plugins were installed as pip does it."""
    folder = tmp_path_factory.mktemp("site")
    quiet = ["-q", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    packages = [HERE / "boltzmann", HERE / "watch"]
    _run(sys.executable, "-m", "pip", "install", *quiet, "--target", folder, *packages)
    return folder


def test_it_is_listed_with_its_settings(installed: Path) -> None:
    out = _run(sys.executable, "-m", "freshet", "parts", "boltzmann", "--json", "-", path=installed)
    (found,) = json.loads(out)["policies"]
    assert found["package"] == "freshet-boltzmann" and found["what"].startswith("Boltzmann exploration")
    assert [(s["name"], s["default"]) for s in found["settings"]] == [("temperature", 0.1)]
    assert found["settings"][0]["meaning"].startswith("Reward by which")


def test_it_decides_and_learns_in_a_running_system(installed: Path, tmp_path: Path) -> None:
    out = _run(sys.executable, HERE / "boltzmann_loop.py", tmp_path / "data", path=installed)
    first, second, measured = json.loads(out)
    assert first["policy"] == second["policy"] == "warm"
    assert first["items"][0]["propensity"] == 0.125
    best = first["items"][0]["item_id"]
    # One click in one impression is a mean of 1, twenty temperatures above all others.
    assert second["items"][0]["item_id"] == best and second["items"][0]["propensity"] > 0.99
    assert measured == ['freshet_mine_first_clicks{place="1"} 1.0']


def test_its_estimator_tells_what_a_replay_asks(installed: Path, tmp_path: Path) -> None:
    log, config = tmp_path / "log.jsonl", tmp_path / "freshet.toml"
    log.write_bytes(b"\n".join(map(msgspec.json.encode, _logged(40))))
    config.write_text('[[estimators]]\nkind = "clipped"\nname = "at_one"\nmost = 1.0\n')
    asked = ["--estimator", "at_one", "--estimator", "clipped", "--estimator", "ips", "--json", "-"]
    command = [sys.executable, "-m", "freshet", "replay", str(log), "--config", str(config)]
    out = _run(*command, "--policy", "uniform", *asked, path=installed)
    found = json.loads(out)["policies"]["uniform"]["first"]
    # Uniform among 4 is twice as likely to show what was shown with 1 in 8; each tenth slate was clicked.
    assert [found[name]["mean"] for name in ("at_one", "clipped", "ips")] == pytest.approx([0.1, 0.2, 0.2])


def _logged(n: int) -> list[LoggedEvent]:
    """Four items, n decisions of one item, and a click on each tenth."""
    events: list[LoggedEvent] = [ItemEvent(item_id=item, ts=T) for item in "abcd"]
    for number in range(n):
        item, at = "abcd"[number % 4], T + 1_000 * number
        events.append(
            Decision(
                request_id=f"r{number}",
                ts=at,
                user_id=f"u{number}",
                items=[item],
                propensities=[0.125],
                policy="uniform",
                clusters=[0],
                weights=[1.0],
            )
        )
        if number % 10 == 0:
            events.append(Click(request_id=f"r{number}", item_id=item, ts=at + 500))
    return events


@pytest.mark.parametrize("contract", ["boltzmann_contract.py", "watch_contract.py"])
def test_they_pass_the_contracts_as_ours_do(installed: Path, contract: str) -> None:
    quiet = ["-q", "-p", "no:cacheprovider"]
    out = _run(sys.executable, "-m", "pytest", *quiet, HERE / contract, path=installed)
    assert " passed" in out
