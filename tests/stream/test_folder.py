"""One system a folder, and clear words when it cannot be opened."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from stream.errors import LogError
from stream.folder import DataFolder


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
    ("content", "words"), [(b'{"format": 2}', "format 2.*upgrade"), (b"{", "damaged"), (b"", "damaged")]
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
    assert DataFolder.describe(tmp_path).startswith("format 1, 2 logs, 0 commits")
