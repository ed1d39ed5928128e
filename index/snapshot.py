"""An index on disk: written aside, checksummed, synced, renamed (`stream.snapshot`)."""

from __future__ import annotations

from pathlib import Path

from index.base import VectorIndex
from stream.snapshot import read_snapshot, write_snapshot

__all__ = ["load_index", "save_index"]

_KIND = "vector-index"


def save_index(index: VectorIndex, path: Path) -> int:
    """Write `index` to `path`, whole or not at all; returns the bytes written.

    Raises:
        SnapshotError: the folder is missing, the disk is full, or writing failed otherwise.
    """
    return write_snapshot(path, _KIND, index.snapshot())


def load_index(index: VectorIndex, path: Path) -> None:
    """Make `index` what was saved at `path`; its own settings stay in force.

    Raises:
        SnapshotError: the file is missing, damaged or of another kind, or holds another dimension or space;
            `index` is then as it was.
    """
    index.restore(read_snapshot(path, _KIND))
