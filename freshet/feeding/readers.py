"""Rows of JSONL, CSV and Parquet files, compressed or not, as JSON objects in bytes.

CSV and Parquet columns are named like the fields of the events. A column of lists may hold JSON text in CSV.
Empty cells are left out. A file with one fixed kind of event may leave out `type` when `default_type` says
it.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from stream.errors import EventError

__all__ = ["Row", "count_rows", "read_rows"]

_BATCH_ROWS = 8_192
_TEXT_LISTS = ("items", "propensities", "vector", "context", "attributes")
_INTEGERS = ("ts", "available_from", "available_until")


class Row(NamedTuple):
    """One event: its number in the file (from 0), its JSON, and the file where there are several."""

    number: int
    body: bytes
    file: str = ""


def read_rows(path: Path, default_type: str | None = None, skip: int = 0) -> Iterator[Row]:
    """Yield the events of one file from row `skip` on, in file order.

    The format follows the name: ``.jsonl``/``.ndjson``/``.json`` (a line each), ``.csv``, ``.parquet``, each
    also with ``.gz``, ``.bz2``, ``.xz`` (text) or ``.zst`` behind it.

    Raises:
        EventError: the format is unknown, or the file cannot be read; names the file and what to do.
    """
    try:
        for number, body in enumerate(_bodies(path, default_type)):
            if number >= skip:
                yield Row(number, body)
    except (OSError, EOFError, pa.ArrowException, lzma.LZMAError) as error:
        msg = f"{path} cannot be read: {error}"
        raise EventError(msg) from error


def count_rows(path: Path) -> int | None:
    """Number of rows where the format knows it without reading all (Parquet), else None."""
    if path.suffix != ".parquet":
        return None
    try:
        return int(pq.ParquetFile(path).metadata.num_rows)
    except (OSError, pa.ArrowException) as error:
        msg = f"{path} cannot be read: {error}"
        raise EventError(msg) from error


def _bodies(path: Path, default_type: str | None) -> Iterator[bytes]:
    kind = _format_of(path)
    if kind == "lines":
        with _open(path) as file:
            for line in file:
                if line.strip():
                    yield line.strip()
        return
    for batch in _tables(path, kind):
        for row in batch.to_pylist():
            yield msgspec.json.encode(_clean(row, default_type))


def _tables(path: Path, kind: str) -> Iterator[pa.RecordBatch]:
    if kind == "parquet":
        yield from pq.ParquetFile(path).iter_batches(_BATCH_ROWS)
        return
    # Everything is read as text: an id like 007 is not a number.
    with _open(path) as file, pa_csv.open_csv(file) as reader:
        names = reader.schema.names
    types = pa_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True)
    with _open(path) as file, pa_csv.open_csv(file, convert_options=types) as reader:
        yield from reader


def _format_of(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    known = {".jsonl": "lines", ".ndjson": "lines", ".json": "lines", ".csv": "csv", ".parquet": "parquet"}
    for suffix in reversed(suffixes):
        if suffix in known:
            return known[suffix]
    msg = f"{path}: unknown format; expected .jsonl, .csv or .parquet, with or without .gz, .bz2, .xz or .zst"
    raise EventError(msg)


def _open(path: Path) -> IO[bytes] | gzip.GzipFile:
    suffix = path.suffix.lower()
    if suffix == ".gz":
        return gzip.open(path, "rb")
    if suffix == ".bz2":
        return bz2.open(path, "rb")
    if suffix == ".xz":
        return lzma.open(path, "rb")
    if suffix == ".zst":
        return io.BufferedReader(pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"))
    return path.open("rb")


def _clean(row: dict[str, Any], default_type: str | None) -> dict[str, Any]:
    event = {key: value for key, value in row.items() if value is not None and value != ""}
    if default_type is not None:
        event.setdefault("type", default_type)
    for name in _TEXT_LISTS:
        if isinstance(event.get(name), str):
            event[name] = _decoded(event[name])
    for name in _INTEGERS:
        event[name] = _number(event[name], int) if isinstance(event.get(name), str) else event.get(name)
    if isinstance(event.get("value"), str):
        event["value"] = _number(event["value"], float)
    return {key: value for key, value in event.items() if value is not None}


def _decoded(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text  # the gateway refuses it by name, with its place


def _number(text: str, kind: type[int] | type[float]) -> int | float | str:
    try:
        return kind(text)
    except ValueError:
        return text
