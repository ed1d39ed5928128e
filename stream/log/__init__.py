"""Event logs: what was accepted, in order, in memory or in one SQLite file a writing process."""

from __future__ import annotations

from stream.log.base import DAMAGED, EventLog, EventReader, Record, RecordKind
from stream.log.claims import Claims
from stream.log.memory import MemoryLog
from stream.log.sqlite_log import SQLiteLog, SQLiteLogReader

__all__ = [
    "DAMAGED",
    "Claims",
    "EventLog",
    "EventReader",
    "MemoryLog",
    "Record",
    "RecordKind",
    "SQLiteLog",
    "SQLiteLogReader",
]
