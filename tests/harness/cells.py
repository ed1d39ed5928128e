"""What rows hold of the parts, written by hand."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from learning.rows.packed_cells import Cells

__all__ = [
    "arms",
    "bias",
    "counts",
    "edges",
    "history",
    "i8",
    "in_table",
    "near",
    "offered",
    "popular",
    "vector",
]


def i8(*values: int) -> bytes:
    """Whole numbers as a cell.

    Example:
        >>> i8(1)
        b'\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00'
    """
    return np.array(values, "<i8").tobytes()


def bias(value: float) -> Cells:
    """Of the factorisation."""
    return {"": np.array([value], "<f4").tobytes()}


def history(items: Sequence[str], times: npt.ArrayLike) -> Cells:
    """Items clicked at `times` (ms), the last one last."""
    return {"items": list(items), "ts": np.asarray(times, "<i8").tobytes()}


def popular(
    half_lives_ms: Sequence[int], reference: Sequence[int], weights: npt.ArrayLike, clicks: int, ts: int = 0
) -> Cells:
    """Fading clicks, all at `ts` (ms)."""
    fading = i8(*half_lives_ms, *reference) + np.asarray(weights, "<f8").tobytes()
    return {"": fading + i8(clicks, ts, ts)}


def near(
    half_life_ms: int, ids: Sequence[str], weights: npt.ArrayLike, degree: float, reference: int = 0
) -> Cells:
    """Neighbours of co-occurrence."""
    return {
        "neighbours": list(ids),
        "weights": np.asarray(weights, "<f4").tobytes(),
        "": i8(half_life_ms, reference) + np.array([degree], "<f8").tobytes(),
    }


def edges(clusters: npt.ArrayLike, b: npt.ArrayLike, d: npt.ArrayLike, shown: int) -> Cells:
    """Sums of Diag-LinUCB."""
    columns: dict[str, Any] = {"b": np.asarray(b, "<f8"), "d": np.asarray(d, "<f8")}
    cells: Cells = {name: column.tobytes() for name, column in columns.items()}
    return {"clusters": np.asarray(clusters, "<i4").tobytes(), **cells, "": i8(shown)}


def arms(shown: int, reward: float) -> Cells:
    """Counts of a policy that ignores the context."""
    return {"": i8(shown) + np.array([reward], "<f8").tobytes()}


def offered(clusters: Sequence[int], fits: npt.ArrayLike, *, explored: bool = False) -> Cells:
    """Edges of the graph."""
    found: Cells = {
        "clusters": np.asarray(clusters, "<i4").tobytes(),
        "affinities": np.asarray(fits, "<f4").tobytes(),
    }
    return found | ({"": b"\1"} if explored else {})


def in_table(
    vector: npt.ArrayLike, *, version: int = 0, clicks: int = 0, impressions: int = 0, touched_at: int = 0
) -> dict[str, Cells]:
    """Vector and counts, which two parts have."""
    return {
        "vectors": {"": np.asarray(vector, "<f4").tobytes() + i8(version)},
        "counts": {"": i8(clicks, impressions, touched_at)},
    }


def counts(parts: Mapping[str, Cells]) -> list[int]:
    """Clicks, impressions and the time of the last outcome, out of a row.

    Example:
        >>> counts(in_table([0.5], clicks=7)), counts({})
        ([7, 0, 0], [0, 0, 0])
    """
    cell = parts.get("counts", {}).get("") or bytes(24)
    return list(struct.unpack("<3q", bytes(cell) if isinstance(cell, bytes) else b""))


def vector(parts: Mapping[str, Cells]) -> tuple[npt.NDArray[np.float32], int]:
    """A vector and the number of its updates, out of a row."""
    cell = parts["vectors"][""]
    assert isinstance(cell, bytes)
    return np.frombuffer(cell[:-8], "<f4"), int.from_bytes(cell[-8:], "little")
