"""Arguments at the door: what was expected, what came, what to try."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from index.errors import IndexFullError, IndexInputError
from index.ops.records import Allow
from index.ops.vectors import LONGEST, unit_rows
from index.ops.vectors import lengths as lengths_of

__all__ = [
    "EVERYTHING",
    "check_allow",
    "check_column",
    "check_k",
    "check_query",
    "check_rows",
    "check_vectors",
    "check_vectors_as_given",
    "has_direction",
]

T = TypeVar("T", bound=np.generic)

_NO_GROUPS = np.empty(0, np.int32)
_NO_MASK = np.empty(0, np.bool_)
EVERYTHING = Allow(False, _NO_GROUPS, False, 0, False, _NO_MASK)


def check_rows(rows: Any, max_rows: int) -> NDArray[np.int32]:
    """Row numbers (n,) as int32, each in 0..max_rows-1."""
    if not isinstance(rows, np.ndarray) or rows.dtype.kind not in "iu" or rows.ndim != 1:
        msg = f"rows: expected a one-dimensional integer array, got {_describe(rows)}"
        raise IndexInputError(msg)
    if rows.size and int(rows.min()) < 0:
        msg = f"rows: expected row numbers from 0, got {int(rows.min())} at place {int(rows.argmin())}"
        raise IndexInputError(msg)
    if rows.size and int(rows.max()) >= max_rows:
        msg = f"rows: row {int(rows.max())} lies beyond max_rows={max_rows}; make the index with more room"
        raise IndexFullError(msg)
    return _plain(rows.astype(np.int32, copy=False))


def check_vectors(vectors: Any, n: int, dim: int) -> NDArray[np.float32]:
    """Vectors (n, dim) float32, scaled to unit length."""
    return _unit(_check_shape(vectors, n, dim), "vectors")


def check_vectors_as_given(vectors: Any, n: int, dim: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Vectors (n, dim) float32 of a usable length as they are, and what scales each to unit length (n,)."""
    given = _plain(_check_shape(vectors, n, dim))
    lengths = lengths_of(given)
    bad = np.flatnonzero(~_usable(lengths))
    if bad.size:
        msg = (
            f"vectors: place {bad[0]} is not finite or has no usable length; expected finite numbers and a "
            f"length from {1 / LONGEST:g} to {LONGEST:g}; leave it out or remove the row"
        )
        raise IndexInputError(msg)
    return given, (1.0 / lengths).astype(np.float32)


def has_direction(vectors: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which of `vectors` (n, dim) are finite and neither zero nor so short or long that their products leave
    single precision; (n,)."""
    return _usable(lengths_of(_plain(vectors)))


def _usable(lengths: NDArray[np.float64]) -> NDArray[np.bool_]:
    usable: NDArray[np.bool_] = (lengths >= 1 / LONGEST) & (lengths <= LONGEST)
    return usable


def _check_shape(vectors: Any, n: int, dim: int) -> NDArray[np.float32]:
    if not isinstance(vectors, np.ndarray) or vectors.dtype != np.float32:
        msg = f"vectors: expected a float32 array, got {_describe(vectors)}; convert with .astype(np.float32)"
        raise IndexInputError(msg)
    if vectors.shape != (n, dim):
        msg = f"vectors: expected shape {(n, dim)}, one row of {dim} for each row number, got {vectors.shape}"
        raise IndexInputError(msg)
    return vectors


def check_query(query: Any, dim: int) -> NDArray[np.float32]:
    """A query (dim,) float32, scaled to unit length."""
    if not isinstance(query, np.ndarray) or query.dtype != np.float32:
        msg = f"query: expected a float32 array, got {_describe(query)}; convert with .astype(np.float32)"
        raise IndexInputError(msg)
    if query.shape != (dim,):
        msg = f"query: expected shape {(dim,)}, got {query.shape}; was it made by another model?"
        raise IndexInputError(msg)
    unit: NDArray[np.float32] = _unit(query.reshape(1, dim), "query")[0]
    return unit


def _unit(raw: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    units = np.empty(raw.shape, np.float32)
    row, fault = unit_rows(_plain(raw), units)
    if fault == 1:
        msg = f"{name}: place {row} is not finite (NaN or infinite); nothing was changed"
        raise IndexInputError(msg)
    if fault == 2:
        msg = (
            f"{name}: place {row} is all zero, without direction under cosine; leave it out or remove the row"
        )
        raise IndexInputError(msg)
    return units


def check_k(k: Any) -> int:
    """A number of answers, at least 1."""
    if not isinstance(k, int | np.integer) or isinstance(k, bool) or k < 1:
        msg = f"k: expected a whole number from 1, got {k!r}"
        raise IndexInputError(msg)
    return int(k)


def check_allow(groups: Any, now_ms: Any, mask: Any) -> Allow:
    """The filter of a search; None in a place means no restriction by it, an empty array allows nothing."""
    if groups is None and now_ms is None and mask is None:
        return EVERYTHING
    wanted = _NO_GROUPS
    if groups is not None:
        if not isinstance(groups, np.ndarray) or groups.dtype != np.int32 or groups.ndim != 1:
            msg = f"groups: expected a one-dimensional int32 array or None, got {_describe(groups)}"
            raise IndexInputError(msg)
        wanted = np.sort(groups)
    if now_ms is not None and (not isinstance(now_ms, int | np.integer) or isinstance(now_ms, bool)):
        msg = f"now_ms: expected whole milliseconds since the epoch or None, got {now_ms!r}"
        raise IndexInputError(msg)
    chosen = _NO_MASK
    if mask is not None:
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.ndim != 1:
            msg = f"allowed: expected a bool array (n,) indexed by row or None, got {_describe(mask)}"
            raise IndexInputError(msg)
        chosen = _plain(mask)
    return Allow(groups is not None, wanted, now_ms is not None, int(now_ms or 0), mask is not None, chosen)


def check_column(values: Any, n: int, dtype: type[np.generic], name: str) -> NDArray[Any]:
    """One attribute for each of `n` rows, of exactly this integer type."""
    if not isinstance(values, np.ndarray) or values.dtype != dtype or values.shape != (n,):
        msg = f"{name}: expected {n} values of {np.dtype(dtype).name}, got {_describe(values)}"
        raise IndexInputError(msg)
    return _plain(values)


def _plain(array: NDArray[T]) -> NDArray[T]:
    """The same values contiguous, aligned and writeable: kernels are compiled for that one kind of array."""
    return array if array.flags.carray else np.require(array, requirements=("C", "A", "W"))


def _describe(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} with shape {value.shape}"
    return f"{type(value).__name__} {value!r}"[:120]
