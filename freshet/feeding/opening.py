"""Files as bytes, unpacked; and what can go wrong with them, in words."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from stream.errors import EventError

__all__ = ["DAMAGED", "MAX_ROW_BYTES", "Row", "Unpacked", "format_of", "opened"]

DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException, ValueError, OverflowError)
"""What reading a damaged file raises, of every format and compression."""

MAX_ROW_BYTES = 7_500_000
"""Longest row of any format: a little less than what one request may hold."""

_FORMATS = {".jsonl": "lines", ".ndjson": "lines", ".json": "lines", ".csv": "csv", ".parquet": "parquet"}
_ARROW = {".zst": "zstd", ".lz4": "lz4"}
_WIDE = ((b"\xff\xfe\x00\x00", "UTF-32"), (b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"))
_PACKED = {b"\x1f\x8b": ".gz", b"BZh": ".bz2", b"\xfd7zXZ": ".xz", b"\x28\xb5\x2f\xfd": ".zst"}
_MARK = b"\xef\xbb\xbf"


Unpacked = io.BufferedReader | gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile
"""Bytes to read on from where one has come; each gives what it could unpack before what is damaged."""


class Row(NamedTuple):
    """One event: its number in the file (from 0), its JSON in one line, and the file where there are several;
    `reason` says why it cannot be one, and then there is no JSON."""

    number: int
    body: bytes
    file: str = ""
    reason: str | None = None


def format_of(path: Path) -> str:
    """`lines`, `csv` or `parquet`, by the name.

    Raises:
        EventError: the name says something else.

    Example:
        >>> format_of(Path("clicks.2024.csv.gz")), format_of(Path("log.ndjson"))
        ('csv', 'lines')
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in (".gz", ".bz2", ".xz", *_ARROW):
        suffixes.pop()
        if suffixes and suffixes[-1] == ".parquet":
            msg = f"{path}: expected Parquet as it is, for it is compressed inside; unpack it first"
            raise EventError(msg)
    found = _FORMATS.get(suffixes[-1]) if suffixes else None
    if found is None:
        msg = (
            f"{path}: unknown format; expected .jsonl, .csv or .parquet, "
            "the first two with or without .gz, .bz2, .xz, .zst or .lz4"
        )
        raise EventError(msg)
    return found


@contextmanager
def opened(path: Path) -> Iterator[Unpacked]:
    """The bytes of a file of text, unpacked, behind its byte order mark.

    Raises:
        EventError: it is no UTF-8, or packed and not named so.
    """
    suffix = path.suffix.lower()
    with _unpacked(path, suffix) as file:
        head = file.peek(8)[:8]
        for mark, name in _WIDE:
            if head.startswith(mark):
                msg = f"{path} cannot be read: expected UTF-8, got {name}; save it as UTF-8"
                raise EventError(msg)
        for magic, name in _PACKED.items():
            if head.startswith(magic):
                msg = f"{path} cannot be read: expected text, got packed bytes; name it {path.name}{name}"
                raise EventError(msg)
        if head.startswith(_MARK):
            file.read(len(_MARK))
        yield file


def _unpacked(path: Path, suffix: str) -> Unpacked:
    if suffix == ".gz":
        return gzip.open(path, "rb")
    if suffix == ".bz2":
        return bz2.open(path, "rb")
    if suffix == ".xz":
        return lzma.open(path, "rb")
    if suffix in _ARROW:
        return io.BufferedReader(_Arrow(path, _ARROW[suffix]), 1 << 18)
    return path.open("rb")


class _Arrow(io.RawIOBase):
    """A compressed stream of Arrow as a raw file, closed with it."""

    def __init__(self, path: Path, codec: str) -> None:
        self._file = pa.OSFile(str(path))
        self._stream = pa.CompressedInputStream(self._file, codec)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
            self._file.close()
        super().close()
