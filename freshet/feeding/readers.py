"""Rows of JSONL, CSV and Parquet files, compressed or not, as JSON objects in bytes.

CSV and Parquet columns are named like the fields of the events and converted by them (`stream.fields`); lists
and objects may be JSON text. Empty cells are left out. What cannot be an event is a row with its reason, and
costs no other. A file with one fixed kind of event may leave out `type` when `default_type` says it. What is
named otherwise comes with a map (`freshet.feeding.map_file`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from freshet.feeding.csv_rows import csv_rows
from freshet.feeding.json_rows import json_rows
from freshet.feeding.mapped_rows import MappedRows
from freshet.feeding.opening import DAMAGED, Row, format_of
from freshet.feeding.parquet_rows import parquet_rows
from stream.errors import EventError
from stream.open_files import in_words

__all__ = ["Row", "count_rows", "read_rows"]


def read_rows(
    path: Path, default_type: str | None = None, skip: int = 0, mapped: MappedRows | None = None
) -> Iterator[Row]:
    """Yield the events of one file from row `skip` on, in file order; `mapped` says what they are where rows
    are not events themselves.

    The format follows the name: ``.jsonl``/``.ndjson``/``.json`` (a line each, or an array), ``.csv``,
    ``.parquet``; text also with ``.gz``, ``.bz2``, ``.xz``, ``.zst`` or ``.lz4`` behind it.

    Raises:
        EventError: the format is unknown, or the file cannot be read; names the file and the row reached.
    """
    reached = 0
    try:
        for row in _rows(path, default_type) if mapped is None else mapped.rows():
            reached = row.number + 1
            if row.number >= skip:
                yield row
    except DAMAGED as error:
        msg = f"{path} cannot be read: {in_words(error) or type(error).__name__} (row {reached} reached)"
        raise EventError(msg) from error


def count_rows(path: Path) -> int | None:
    """Number of rows where the format knows it without reading all (Parquet), else None."""
    if path.suffix.lower() != ".parquet" or not path.is_file():
        return None
    try:
        with pq.ParquetFile(path) as file:
            return int(file.metadata.num_rows)
    except DAMAGED as error:
        msg = f"{path} cannot be read: {in_words(error)}"
        raise EventError(msg) from error


def _rows(path: Path, default_type: str | None) -> Iterator[Row]:
    kind = format_of(path)
    if kind == "lines":
        return json_rows(path)
    return csv_rows(path, default_type) if kind == "csv" else parquet_rows(path, default_type)
