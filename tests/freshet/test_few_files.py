"""A limit of open files that is too low is named, with what raises it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import resource, sys
from freshet.cli import main
most = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
main()
"""
OPENED = """
import os, resource
from pathlib import Path
from stream.database import Database
from stream.errors import StorageError, storage_error
resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))
path = Path("here.db").absolute()
Database(path, schema=1).close()
while True:
    try:
        os.open(os.devnull, os.O_RDONLY)
    except OSError as error:
        print(storage_error("the folder", error))
        break
os.close(22)
os.close(23)
try:
    Database(path, schema=1)
except StorageError as error:
    print(error)
"""


def _said(folder: Path, most: int, *arguments: str) -> tuple[int, str]:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(most), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    return ran.returncode, ran.stderr


@pytest.mark.parametrize("command", [["up", "--data", "data"], ["serve", "--data", "data"], ["work"]])
def test_what_serves_and_learns_does_not_start_with_too_few(tmp_path: Path, command: list[str]) -> None:
    code, said = _said(tmp_path, 24, *command)
    assert code == 1 and said.count("\n") == 1
    assert "this process may have 24 files and connections open at once; allow more with `ulimit -n" in said


def test_history_in_more_files_than_may_be_open_is_refused_before_any_is_read(tmp_path: Path) -> None:
    names = [f"{n}.jsonl" for n in range(40)]
    for name in names:
        (tmp_path / name).write_text('{"type":"click","ts":1700000000000,"user_id":"u","item_id":"i"}\n')
    code, said = _said(tmp_path, 64, "feed", *names, "--backfill", "--to", "http://127.0.0.1:9")
    assert code == 1 and "room for 72 files and connections, all files are read at once with --back" in said
    assert "ulimit -n" in said


def test_an_error_of_the_system_or_of_the_database_names_the_limit(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", OPENED], cwd=tmp_path, capture_output=True, text=True, timeout=600, check=True
    )
    folder, database = ran.stdout.splitlines()
    assert folder.startswith("the folder: this process may have 24 files") and "ulimit -n" in folder
    assert database.startswith("here.db could not be opened") and "may have 24 files" in database
