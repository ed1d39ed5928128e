"""Both event logs keep one contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.log import EventLog, MemoryLog, SQLiteLog
from stream.testing_log import EventLogContract


class TestMemoryLog(EventLogContract):
    @pytest.fixture
    def log(self) -> EventLog:
        return MemoryLog()


class TestSQLiteLog(EventLogContract):
    @pytest.fixture
    def log(self, tmp_path: Path) -> Iterator[EventLog]:
        log = SQLiteLog(tmp_path / "events-0.db")
        yield log
        log.close()
