"""Commands from the outside: what goes where, and the codes they end with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from freshet.cli import app


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
    assert ran.exit_code == 1 and "holds no event" in str(ran.exception)
