"""One system a folder, and clear words when it cannot be opened."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from stream.commits import Span
from stream.dead_letters import DeadLetter
from stream.errors import LogError
from stream.folder import DataFolder
from stream.log import Record


def test_the_key_stays_and_is_private(tmp_path: Path) -> None:
    first = DataFolder(tmp_path / "data")
    assert DataFolder(tmp_path / "data").key == first.key
    assert stat.S_IMODE((tmp_path / "data" / "key").stat().st_mode) == 0o600


def test_a_second_system_on_the_folder_is_refused_by_name(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path, exclusive=True)
    with pytest.raises(LogError, match="in use by process"):
        DataFolder(tmp_path, exclusive=True)
    DataFolder(tmp_path)  # a worker of the running system
    folder.close()
    DataFolder(tmp_path, exclusive=True).close()


@pytest.mark.parametrize(
    ("content", "words"), [(b'{"format": 3}', "format 3.*upgrade"), (b"{", "damaged"), (b"", "damaged")]
)
def test_a_newer_or_damaged_folder_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "freshet.json").write_bytes(content)
    with pytest.raises(LogError, match=words):
        DataFolder(tmp_path)


def test_a_lost_key_is_not_replaced_silently(tmp_path: Path) -> None:
    DataFolder(tmp_path).prepare(1)
    (tmp_path / "key").unlink()
    with pytest.raises(LogError, match="key is missing"):
        DataFolder(tmp_path)


def test_worker_zero_looks_after_the_logs_of_workers_that_are_gone(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    folder.prepare(3)
    assert folder.owned(0, workers=2) == ["events-0", "events-2"]
    assert folder.owned(1, workers=2) == ["events-1"]


def test_a_file_in_the_way_is_explained(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("x")
    with pytest.raises(LogError, match="cannot be used"):
        DataFolder(tmp_path / "data")


def test_describing_a_folder_changes_nothing(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="no data folder"):
        DataFolder.describe(tmp_path)
    assert list(tmp_path.iterdir()) == []
    DataFolder(tmp_path).prepare(2)
    assert DataFolder.describe(tmp_path).startswith("format 2, 2 logs, 0 commits")


def _learned(path: Path) -> DataFolder:
    """A folder of which one record was accepted and learned, and a snapshot was kept."""
    folder = DataFolder(path)
    folder.prepare(1)
    log, commits = folder.writer("events-0"), folder.commit_log()
    (pos,) = log.append([Record("events", b"[]", accepted_at=5)])
    commits.commit(1, [Span("events-0", 0, pos, 1)], b"", absorbed_at=5, watermark=0)
    folder.snapshot_store().write({"seq": 1})
    log.close()
    commits.close()
    return folder


@pytest.mark.parametrize("missing", ["events-0.db", "learner.db"])
def test_a_folder_with_a_missing_file_is_refused_by_the_files_name(tmp_path: Path, missing: str) -> None:
    folder = _learned(tmp_path)
    for path in tmp_path.glob(f"{missing}*"):
        path.unlink()
    with pytest.raises(LogError, match=f"{missing} is missing.*restore"):
        folder.prepare(1)


def test_another_log_in_place_of_the_one_that_was_learned_from_is_refused(tmp_path: Path) -> None:
    folder = _learned(tmp_path / "data")
    DataFolder(tmp_path / "other").prepare(1)
    (tmp_path / "other" / "events-0.db").rename(tmp_path / "data" / "events-0.db")
    with pytest.raises(LogError, match=r"events-0\.db is not the file that was learned from.*restore"):
        folder.prepare(1)


def test_records_that_the_power_took_are_no_reason_to_refuse(tmp_path: Path) -> None:
    folder = _learned(tmp_path)
    log = folder.writer("events-0")
    log.append([Record("decision", b"{}", accepted_at=6)], durable=False)
    with log.database.transaction(durable=True) as connection:
        connection.execute("DELETE FROM records")
    log.close()
    folder.prepare(1)


def test_damage_and_dead_letters_of_every_file_are_told(tmp_path: Path) -> None:
    folder = _learned(tmp_path)
    log = folder.writer("events-0")
    log.dead_letters.add([DeadLetter(at, f"reason {at}", f"place {at}", b"x") for at in range(5)])
    log.append([Record("events", b"x" * 5_000, accepted_at=5) for _ in range(50)])
    log.database.checkpoint()
    log.close()
    count, newest = folder.newest_letters(2)
    assert (count, [letter.reason for letter in newest]) == (5, ["reason 4", "reason 3"])
    assert "1 logs" in DataFolder.describe(tmp_path)
    with (tmp_path / "events-0.db").open("r+b") as file:
        file.seek(10 * 4_096)
        file.write(b"\xff" * 40_960)
    with pytest.raises(LogError, match=r"events-0\.db"):
        DataFolder.describe(tmp_path)
