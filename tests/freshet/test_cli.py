"""Commands from the outside: what goes where, and the codes they end with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from freshet.cli import app
from freshet.feeding import Row
from freshet.feeding.order import OrderWatch


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


def test_rows_of_the_live_stream_that_are_too_old_are_advised_to_be_history() -> None:
    watch = OrderWatch(now_ms=10_000_000)
    rows = [Row(n, b'{"ts": %d}' % ts) for n, ts in enumerate((9_900_000, 5, 6))]
    assert list(watch.watch([*rows, Row(3, b"no json"), Row(4, b'{"ts": "x"}')])) and watch.n_late == 2
    assert (
        watch.advice()
        == "2 rows are more than 10 minutes old (the first is row 2): for history add --backfill"
    )
