"""Rows of Parquet files; each column is converted by the field it is named like, others cannot fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from freshet.feeding.arrow_values import values_of
from freshet.feeding.opening import DAMAGED, Row
from stream.errors import EventError
from stream.fields import FIELDS, convert

__all__ = ["parquet_cells", "parquet_rows"]

_BATCH_ROWS = 8_192
_BATCH_LISTS = 1_024  # rows may be lists of a thousand items with as many prices


def parquet_rows(path: Path, default_type: str | None) -> Iterator[Row]:
    """Every row.

    Raises:
        EventError: it is no regular file, or a column stands in it twice.
    """
    with _opened(path) as file:
        names = file.schema_arrow.names
        for name in names:
            if name in FIELDS and names.count(name) > 1:
                msg = f"{path} cannot be read: expected each column once, got {name} twice"
                raise EventError(msg)
        number = 0
        for batch in file.iter_batches(_BATCH_ROWS):
            columns = [
                (name, column)
                for name, array in zip(batch.schema.names, batch.columns, strict=True)
                if (column := _column(name, array)) is not None
            ]
            for at in range(batch.num_rows):
                yield _row(number, at, columns, default_type)
                number += 1


def parquet_cells(path: Path, wanted: Callable[[list[str]], list[str]]) -> Iterator[dict[str, Any] | str]:
    """Every row as it stands, of the columns that `wanted` picks from all, without its empty cells; or why it
    cannot be read.

    Raises:
        EventError: it is no regular file, or what `wanted` raises.
    """
    with _opened(path) as file:
        names = wanted(file.schema_arrow.names)
        for batch in file.iter_batches(_BATCH_LISTS, columns=names):
            # A column may be read all the same that was not asked for, one of a longer name.
            columns = [
                (name, _column(name, array, is_wanted=True))
                for name, array in zip(batch.schema.names, batch.columns, strict=True)
                if name in names
            ]
            for at in range(batch.num_rows):
                yield _cells(at, columns)


def _cells(at: int, columns: list[tuple[str, _Column | None]]) -> dict[str, Any] | str:
    found = {}
    try:
        for name, column in columns:
            value = None if column is None else column(at)
            if value is not None and value != "":
                found[name] = value
    except EventError as error:
        return str(error)
    return found


def _opened(path: Path) -> pq.ParquetFile:
    if path.is_fifo():
        msg = f"{path} cannot be read: expected a regular file, for Parquet is read from its end"
        raise EventError(msg)
    return pq.ParquetFile(path, page_checksum_verification=True)


_Column = Callable[[int], Any]


def _column(name: str, array: pa.Array, *, is_wanted: bool = False) -> _Column | None:
    """The values of a column by row; None for one that nobody asked for and that cannot be had."""
    try:
        values = values_of(array)
    except (*DAMAGED, NotImplementedError, TypeError) as error:
        if name not in FIELDS and not is_wanted:
            return None
        said = f"{name}: expected something else than {array.type}, which cannot be read here: {error}"

        def refuse(_at: int) -> Any:
            raise EventError(said)

        return refuse
    return values.__getitem__


def _row(number: int, at: int, columns: list[tuple[str, _Column]], default_type: str | None) -> Row:
    event: dict[str, Any] = {}
    try:
        for name, column in columns:
            value = column(at)
            if value is None or value == "":
                continue
            try:
                event[name] = convert(name, value)
            except EventError:
                if name in FIELDS:
                    raise
        if default_type is not None:
            event.setdefault("type", default_type)
        return Row(number, msgspec.json.encode(event))
    except EventError as error:
        return Row(number, b"", reason=str(error))
