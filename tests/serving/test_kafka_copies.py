"""A copy of all rows on disk is gone on from only where nothing can have been missed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from freshet.config import Settings
from learning.settings import LearnSettings, PolicySettings
from serving.kafka.copies import MAX_AGE_MS, Copies

TOPICS = {"user-vectors": "a", "control": "b"}
AT = 1_700_000_000_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A copy that was written under the default settings."""
    path = tmp_path / "rows.snapshot"
    copies = Copies(path, Settings())
    copies.write({"at": AT, "topics": TOPICS, "offsets": {"control": [7]}, "seq": 3})
    copies.finish()
    assert copies.written == 1
    return path


def load(path: Path, at: int = AT, topics: dict[str, str] | None = None, **other: Any) -> Any:
    settings = msgspec.structs.replace(Settings(), **other)
    return Copies(path, settings).load(at, TOPICS if topics is None else topics)


def test_what_was_written_is_what_is_read(path: Path) -> None:
    frame = load(path)
    assert (frame["offsets"], frame["seq"]) == ({"control": [7]}, 3)
    assert load(path, at=AT + MAX_AGE_MS, serve=msgspec.structs.replace(Settings().serve, k=3)) is not None


@pytest.mark.parametrize(
    "case",
    [
        {"learn": LearnSettings(embedding_dim=8)},
        {"policy": PolicySettings(centroids=8)},
        {"topics": {**TOPICS, "control": "made anew"}},
        {"at": AT + MAX_AGE_MS + 1},
    ],
)
def test_one_that_does_not_fit_is_told_of(
    path: Path, case: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    assert load(path, **case) is None
    assert "rows.snapshot is not used" in caplog.text and "all rows are read again" in caplog.text


def test_a_damaged_one_is_told_of(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_bytes(path.read_bytes()[:-1])
    assert load(path) is None
    assert "is damaged" in caplog.text


def test_while_nobody_can_be_asked_its_topics_are_believed(path: Path) -> None:
    assert Copies(path, Settings()).load(AT, None) is not None


def test_half_written_files_of_the_killed_are_cleared_away(path: Path) -> None:
    leftover = path.with_name("rows.snapshot.17.aside")
    leftover.write_bytes(b"half")
    assert load(path) is not None and not leftover.exists()


def test_a_folder_that_cannot_be_written_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    copies = Copies(tmp_path / "missing" / "rows.snapshot", Settings())
    copies.write({"at": AT})
    copies.finish()
    assert copies.written == 0 and "was not written" in caplog.text
