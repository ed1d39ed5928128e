"""Snapshot files: a frame on disk, whole or not there.

Layout: magic, version, kind, length and CRC-32 of the payload, payload (a frame). A file is written aside,
synced, and renamed over the old one, so a reader finds the old snapshot or the new one, never half of it.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from stream.errors import FrameError, SnapshotError
from stream.frame import Frame, pack_parts, unpack

__all__ = ["SNAPSHOT_VERSION", "read_snapshot", "sync_folder", "write_snapshot"]

SNAPSHOT_VERSION = 1

_MAGIC = b"FRESHET\n"
_HEADER = struct.Struct("<8sI16sQI")


def write_snapshot(path: Path, kind: str, frame: Mapping[str, Any]) -> int:
    """Write `frame` to `path` atomically and durably; returns the bytes written.

    `kind` (at most 16 ASCII characters) says what the frame describes and is checked on reading.

    Raises:
        SnapshotError: the disk is full, the folder is missing, or writing failed otherwise.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = Path(folder.name) / "state.snapshot"
        >>> write_snapshot(path, "demo", {"answer": 42}) > 0
        True
        >>> read_snapshot(path, "demo")
        {'answer': 42}
        >>> folder.cleanup()
    """
    parts = list(pack_parts(frame))
    length = sum(memoryview(part).nbytes for part in parts)
    checksum = 0
    for part in parts:
        checksum = zlib.crc32(part, checksum)
    header = _HEADER.pack(_MAGIC, SNAPSHOT_VERSION, kind.encode("ascii"), length, checksum)
    aside = path.with_name(f"{path.name}.{os.getpid()}.aside")
    try:
        with open(aside, "wb", opener=_private) as file:
            file.write(header)
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        msg = f"snapshot {path.name} was not written: {error}; the previous one, if any, is untouched"
        raise SnapshotError(msg) from error
    return len(header) + length


def read_snapshot(path: Path, kind: str) -> Frame:
    """Read the frame that `write_snapshot` stored under the same `kind`.

    Raises:
        SnapshotError: the file is missing, damaged, of another kind, or written by a newer program.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        msg = f"snapshot {path.name} cannot be read: {error}"
        raise SnapshotError(msg) from error
    if len(data) < _HEADER.size or data[: len(_MAGIC)] != _MAGIC:
        msg = f"{path.name} is not a snapshot of Freshet ({len(data)} bytes, wrong first bytes)"
        raise SnapshotError(msg)
    _, version, raw_kind, length, checksum = _HEADER.unpack_from(data)
    if version > SNAPSHOT_VERSION:
        msg = f"{path.name} has version {version}, this program reads {SNAPSHOT_VERSION}; upgrade the program"
        raise SnapshotError(msg)
    found = raw_kind.rstrip(b"\0").decode("ascii", "replace")
    if found != kind:
        msg = f"{path.name} holds {found!r}, expected {kind!r}"
        raise SnapshotError(msg)
    payload = memoryview(data)[_HEADER.size :]
    if len(payload) != length or zlib.crc32(payload) != checksum:
        msg = f"{path.name} is damaged ({len(payload)} of {length} bytes, or the checksum differs)"
        raise SnapshotError(msg)
    try:
        return unpack(payload)
    except FrameError as error:
        msg = f"{path.name} cannot be read: {error}"
        raise SnapshotError(msg) from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive power loss."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
