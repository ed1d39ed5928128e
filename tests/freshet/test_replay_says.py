"""What `freshet replay` says where there is little to say: JSON always, and a reason for what is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from freshet.cli import app
from replay.errors import ReplayError


def _line(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


_ITEM = _line(type="item", item_id="a", ts=10**12)
_IMPRESSION = _line(type="impression", request_id="r", ts=10**12, user_id="u", items=["a", "b"])
_WITH_ODDS = _IMPRESSION[:-1] + b', "propensities": [0.5, 0.25]}'
_LATER_DECISION = _line(
    type="decision", request_id="r", ts=10**12, user_id="u", items=["a"], propensities=[0.5],
    policy="uniform", auto=False,
)  # fmt: skip
_DISLIKE = _line(type="click", user_id="u", item_id="a", ts=10**12, value=-1)


@pytest.mark.parametrize(
    ("line", "notes"),
    [
        (_ITEM, ["the log holds no click", "no slate was shown", "holds no decision and no impression"]),
        (
            _IMPRESSION,
            ["the log holds no click", "no slate of 1", "1 slate was left out: impressions without"],
        ),
        (_WITH_ODDS, ["no click", "no slate of 1", "impressions with propensities and no decision"]),
        (_LATER_DECISION, ["no click", "no slate was shown", "decisions that were never shown (1)"]),
        (
            _DISLIKE,
            ["no click of 1 is a positive", "no slate was shown", "holds no decision and no impression"],
        ),
    ],
)
def test_a_log_of_one_event_gives_json_and_the_reason_for_each_table_that_is_missing(
    tmp_path: Path, line: bytes, notes: list[str]
) -> None:
    file = tmp_path / "one.jsonl"
    file.write_bytes(line)
    out, plot = tmp_path / "out.json", tmp_path / "one.png"
    ran = CliRunner().invoke(
        app, ["replay", str(file), "--sync", "1h", "--json", str(out), "--plot", str(plot)]
    )
    assert ran.exit_code == 0, ran.output
    found = json.loads(out.read_text("utf-8"), parse_constant=pytest.fail)
    assert (found["events"], found["hit_at_k"], found["policies"]) == (1, None, {})
    assert len(found["notes"]) == len(notes)
    assert all(reason in note for note, reason in zip(found["notes"], notes, strict=True)), found["notes"]


@pytest.mark.parametrize("text", ["", '{"type": "click"}\n{'])
def test_json_is_written_also_where_nothing_can_be_read_and_the_error_says_why(
    tmp_path: Path, text: str
) -> None:
    file, out = tmp_path / "none.jsonl", tmp_path / "out.json"
    file.write_text(text, "utf-8")
    ran = CliRunner().invoke(app, ["replay", str(file), "--json", str(out)])
    found = json.loads(out.read_text("utf-8"))
    assert isinstance(ran.exception, ReplayError) and found["events"] == 0
    assert len(found["reasons"]) == found["skipped"] == len(text.splitlines())
    assert all(reason in str(ran.exception) for reason in found["reasons"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["simulate", "bernoulli", "--seed", "-5"],
        ["simulate", "bernoulli", "--items", "99999999999"],
        ["simulate", "bernoulli", "--seeds", "0"],
        ["simulate", "bernoulli", "--rounds", "99999999999"],
        ["replay", "{log}", "--k", "0"],
        ["replay", "{log}", "--sync", "99999999999999999999d"],
    ],
)
def test_a_number_out_of_range_is_a_misuse_that_names_its_flag(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "log.jsonl").write_bytes(_ITEM)
    ran = CliRunner().invoke(app, [word.format(log=tmp_path / "log.jsonl") for word in arguments])
    assert ran.exit_code == 2 and f"'{arguments[-2]}'" in ran.output.replace("--sync", "'--sync'")


def test_lists_whose_clicks_lie_outside_them_end_in_a_sentence_that_says_so(tmp_path: Path) -> None:
    click = _line(type="click", request_id="r", ts=10**12 + 1, user_id="u", item_id="z")
    (tmp_path / "log.jsonl").write_bytes(_IMPRESSION + b"\n" + click)
    said = " ".join(CliRunner().invoke(app, ["replay", str(tmp_path / "log.jsonl")]).output.split())
    assert said.endswith(
        "lists 1 list was shown and none had a click on one of its items (1 click named an item that was not "
        "in its list): nothing can be said of the order."
    )


def test_the_help_says_how_the_report_ends_where_maps_are_told_of_and_what_auto_is() -> None:
    said = " ".join(CliRunner().invoke(app, ["replay", "--help"], env={"COLUMNS": "400"}).output.split())
    assert "the report ends in a sentence" in said and "see the guide on files" in said
    assert "auto (seen for a file, log for a data folder)" in said
