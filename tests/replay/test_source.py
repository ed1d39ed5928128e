"""Logs are read in the order in which they were learned, and reading leaves no trace."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from replay.errors import ReplayError
from replay.source import FolderSource, LinesSource, open_folder
from stream.codec import encode_events
from stream.commits import Span, TickMark
from stream.events import Click, Tick
from stream.folder import DataFolder
from stream.log import Record


def _record(ts: int, accepted_at: int) -> Record:
    return Record("events", encode_events([Click(ts=ts, user_id="u", item_id="a")]), accepted_at)


def _times(source: FolderSource | LinesSource) -> list[int]:
    return [entry.event.ts for entry in source]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two workers; the learner took b2 before a2, ticked, and has not seen the last record of each."""
    data = DataFolder(tmp_path / "data")
    data.prepare(workers=2)
    for name, ats in (("events-0", (10, 30, 60)), ("events-1", (20, 40, 50))):
        writer = data.writer(name)
        writer.append([_record(at, at) for at in ats])
        writer.close()
    commits = data.commit_log()
    order: list[Span | TickMark] = [Span("events-1", 0, 2, 2), TickMark(45), Span("events-0", 1, 2, 1)]
    commits.commit(2, order, b"", absorbed_at=0, watermark=0)
    commits.close()
    return data.path


def test_the_committed_order_is_followed_where_it_is_kept(folder: Path) -> None:
    with open_folder(folder) as source:
        events = [entry.event for entry in source]
    assert [event.ts for event in events] == [10, 20, 40, 45, 30, 50, 60]
    assert isinstance(events[3], Tick)


def test_reading_a_folder_changes_no_file(folder: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.db")}
    with open_folder(folder) as source:
        _times(source)
    assert {path.name: path.stat().st_mtime_ns for path in folder.glob("*.db")} == before


def test_an_ordinary_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match="no data folder"), open_folder(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_missing_log_is_named(folder: Path) -> None:
    (folder / "events-1.db").unlink()
    with pytest.raises(ReplayError, match="events-1"), open_folder(folder) as source:
        _times(source)


def test_bad_lines_are_left_out_with_their_reason() -> None:
    lines = [
        b"nonsense",
        b'{"type": "click", "ts": 1700000000007, "user_id": "u", "item_id": "a"}',
        b'{"type": "impression", "ts":1700000000008,"user_id": "u","request_id": "r","items": ["a", "a"]}',
    ]
    source = LinesSource(lines)
    assert _times(source) == [1_700_000_000_007]
    assert source.skipped == 2
    assert [reason.split(":")[0] for reason in source.reasons] == ["row 1", "row 3"]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"propensities": [0.0]}, "propensities"),
        ({"propensities": [2.0]}, "propensities"),
        ({"propensities": []}, "propensities"),
        ({"items": ["a", "a"]}, "items"),
        ({"weights": [1.0, 2.0]}, "clusters"),
        ({"ts": -1}, "ts"),
        ({"ts": 1_700_000_000}, "milliseconds expected"),
        ({"context": {"features": ["x"]}}, "context.features"),
        ({"context": {"deep": json.loads("[" * 40 + "]" * 40)}}, "levels"),
    ],
)
def test_a_decision_in_a_file_keeps_the_rules_of_events(wrong: dict[str, Any], says: str) -> None:
    fields = {
        "type": "decision", "ts": 1_700_000_000_000, "user_id": "u", "request_id": "r", "items": ["a"],
        "propensities": [0.5], "policy": "uniform", "clusters": [0], "weights": [1.0],
    }  # fmt: skip
    source = LinesSource([json.dumps(fields | wrong).encode(), json.dumps(fields).encode()])
    assert _times(source) == [1_700_000_000_000]
    assert source.skipped == 1 and says in source.reasons[0]
