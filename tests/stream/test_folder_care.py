"""What may happen to a folder between two starts, or is there before the first, and who may read it."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.commits import Span
from stream.engine import SnapshotStore
from stream.errors import LogError
from stream.folder import DataFolder
from stream.log import Record


@pytest.fixture
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def fill(path: Path) -> DataFolder:
    """A folder of which three records were learned; the first two commits are in a snapshot only."""
    folder = DataFolder(path)
    folder.prepare(1)
    log, commits = folder.writer("events-0"), folder.commit_log()
    for seq in range(1, 4):
        (pos,) = log.append([Record("events", b"[]", accepted_at=5)])
        commits.commit(seq, [Span("events-0", pos - 1, pos, 1)], b"", absorbed_at=5, watermark=0)
        if seq == 2:
            folder.snapshot_store().write({"seq": seq, "positions": {"events-0": pos}})
            commits.keep_snapshots({seq: {"events-0": pos}}, at=5)
    log.close()
    commits.close()
    return folder


def others_may(path: Path) -> list[str]:
    return [found.name for found in path.rglob("*") if stat.S_IMODE(found.stat().st_mode) & 0o077]


def test_nobody_else_can_read_what_is_written_into_a_folder_made_by_somebody(
    tmp_path: Path, usual_umask: None
) -> None:
    (tmp_path / "data").mkdir(mode=0o755)
    folder = fill(tmp_path / "data")
    # While it is open, for what SQLite keeps beside it.
    log = folder.writer("events-0")
    log.append([Record("events", b"[]", accepted_at=5)])
    assert others_may(tmp_path / "data") == []
    log.close()


def test_files_that_others_can_read_are_mended_and_that_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path)
    for path in tmp_path.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    fine = fill(tmp_path.parent / f"{tmp_path.name}-fine")
    assert caplog.records == []
    DataFolder(tmp_path)
    assert others_may(tmp_path) == [] and len(caplog.records) == 1
    assert "events-0.db" in caplog.text
    DataFolder(tmp_path), DataFolder(fine.path)
    assert len(caplog.records) == 1


def test_another_key_is_noticed(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "key").write_bytes(secrets.token_bytes(32))
    with pytest.raises(LogError, match=r"key is not the key of this folder.*restore"):
        DataFolder(tmp_path).prepare(1)
    with pytest.raises(LogError, match="key is not the key of this folder"):
        DataFolder.describe(tmp_path)


def test_deleted_snapshots_are_noticed(tmp_path: Path) -> None:
    folder = fill(tmp_path)
    for _, path in folder.snapshot_store().found():
        path.unlink()
    with pytest.raises(LogError, match=r"no snapshot of commit 2.*restore.*move learner\.db away"):
        DataFolder(tmp_path).prepare(1)
    with pytest.raises(LogError, match="no snapshot of commit 2"):
        DataFolder.describe(tmp_path)


def test_what_others_put_into_the_folder_is_passed_over_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = fill(tmp_path)
    strays = [
        "learner-old.snapshot",
        "learner-.snapshot",
        "notes.txt",
        "learner-000000000000002 (1).snapshot",
    ]
    for name in strays:
        (tmp_path / "snapshots" / name).write_text("")
    (tmp_path / "snapshots" / "learner-000000000000009.snapshot").mkdir()
    (tmp_path / "snapshots" / "mine.aside").mkdir()
    (tmp_path / "events-0-copy.db").write_bytes((tmp_path / "events-0.db").read_bytes())
    again = DataFolder(tmp_path)
    again.prepare(1)
    assert again.sources() == ["events-0"]
    assert all(name in caplog.text for name in [*strays, "mine.aside", "events-0-copy.db"])
    assert folder.snapshot_store().load()[0] == {"seq": 2, "positions": {"events-0": 1 + 1}}
    folder.snapshot_store().write({"seq": 3})
    assert "1 logs, 3 commits" in DataFolder.describe(tmp_path)


def test_a_stray_file_where_snapshots_should_be_is_no_snapshot(tmp_path: Path) -> None:
    (tmp_path / "learner-x.snapshot").write_text("")
    assert SnapshotStore(tmp_path).load() == (None, [])


def test_looking_at_a_folder_leaves_nothing_behind(tmp_path: Path) -> None:
    fill(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path, *tmp_path.rglob("*"))}
    DataFolder.describe(tmp_path)
    DataFolder(tmp_path, create=False).newest_letters(3)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path, *tmp_path.rglob("*"))} == before


def test_who_only_looks_makes_no_folder(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(LogError, match="no data folder"):
            DataFolder(path, create=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["events-0.db", "learner.db"])
def test_nobody_makes_an_empty_file_where_a_full_one_was(tmp_path: Path, name: str) -> None:
    folder = fill(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(LogError, match=f"{name} is missing"):
        folder.commit_log() if name == "learner.db" else folder.writer("events-0")
    assert not (tmp_path / name).exists()
