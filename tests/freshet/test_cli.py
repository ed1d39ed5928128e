"""Commands from the outside: what goes where, and the codes they end with."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from freshet.cli import app
from learning.errors import StartError


@pytest.mark.parametrize("command", [["schema", "click"], ["doctor"]])
def test_json_on_standard_output_is_nothing_but_json(command: list[str]) -> None:
    ran = CliRunner().invoke(app, [*command, "--json", "-"])
    assert json.loads(ran.stdout)


@pytest.mark.parametrize("option", ["--json", "--plot"])
def test_a_folder_that_is_not_there_is_met_before_the_work(tmp_path: Path, option: str) -> None:
    ran = CliRunner().invoke(app, ["simulate", option, str(tmp_path / "no" / "out")])
    assert ran.exit_code == 2 and "make it first" in " ".join(ran.output.split())


def test_a_log_without_events_has_no_report(tmp_path: Path) -> None:
    empty = tmp_path / "log.jsonl"
    empty.write_bytes(b"")
    ran = CliRunner().invoke(app, ["replay", str(empty)])
    assert ran.exit_code == 1 and "is empty: it holds no row" in str(ran.exception)


def test_the_doctor_writes_nothing_and_says_what_an_empty_folder_lacks(tmp_path: Path) -> None:
    ran = CliRunner().invoke(app, ["doctor", "--data", str(tmp_path), "--json", "-"])
    found = {finding["what"]: finding for finding in json.loads(ran.stdout)}
    assert ran.exit_code == 1 and "is no data folder" in found[f"data folder {tmp_path}"]["found"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "given",
    [["--token", "T0P SECRET"], ["--token", "T0P-SECRET\n"], ["--to", "http://ann:T0P-SECRET@localhost"]],
)
def test_no_command_shows_a_token_that_does_not_fit(tmp_path: Path, given: list[str]) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"type":"click","ts":5,"user_id":"u","item_id":"i"}')
    ran = CliRunner().invoke(app, ["feed", str(rows), *given])
    assert ran.exit_code == 1 and isinstance(ran.exception, StartError)
    assert "T0P" not in f"{ran.output}{ran.exception}"


def test_a_process_that_asks_for_no_interval_loads_no_statistics() -> None:
    """They would take it a third of the time in which a server on Kafka starts, and 50 MB."""
    program = 'import freshet.cli, sys; sys.exit("scipy.stats" in sys.modules)'
    subprocess.run([sys.executable, "-c", program], check=True)
