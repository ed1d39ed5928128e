"""Arithmetic on unit vectors: a fast score to choose by, an exact one to answer with.

The room's space is cosine. Inner product is no metric: an item can be nearer to a longer one than to itself
(papers.md section 15), and a graph's greedy walk rests on the triangle inequality. So a row counts as if it
had unit length, where inner product = cosine = 1 - distance² / 2, and the norm is left to the ranker: each
row has a `scale`, and every product with the row is multiplied by it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stream.kernel import kernel

__all__ = ["LONGEST", "between", "exact_score", "fast_score", "lengths", "product", "unit_rows"]

LONGEST = 1e15
"""Vectors longer than this, or shorter than one by it, are not kept as they are: a product of two would leave
single precision."""

F = TypeVar("F", bound=Callable[..., Any])


def _reordered(function: F) -> F:
    """A kernel whose sums may be reordered into vector lanes: for choosing, never for answers."""
    compiled: Any = njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})(function)
    return cast("F", compiled)


@_reordered
def product(query: NDArray[np.float32], vectors: NDArray[np.float32], row: int) -> np.float32:
    """Inner product of `query` (dim,) and one row of `vectors` (n, dim), lanes in any order."""
    total = np.float32(0.0)
    for f in range(query.size):
        total += query[f] * vectors[row, f]
    return total


@_reordered
def fast_score(
    query: NDArray[np.float32], vectors: NDArray[np.float32], scale: NDArray[np.float32], row: int
) -> np.float32:
    """Cosine of a unit `query` (dim,) and one row of `vectors` (n, dim), lanes in any order."""
    total = np.float32(0.0)
    for f in range(query.size):
        total += query[f] * vectors[row, f]
    return np.float32(total * scale[row])


@_reordered
def between(vectors: NDArray[np.float32], scale: NDArray[np.float32], a: int, b: int) -> np.float32:
    """Cosine of two rows of `vectors` (n, dim), lanes in any order."""
    total = np.float32(0.0)
    for f in range(vectors.shape[1]):
        total += vectors[a, f] * vectors[b, f]
    return np.float32(total * scale[a] * scale[b])


@kernel
def exact_score(
    query: NDArray[np.float32], vectors: NDArray[np.float32], scale: NDArray[np.float32], row: int
) -> np.float32:
    """Cosine in double, summed in four lanes of a fixed order and rounded once: always the same bits.

    One lane alone would wait for each addition.
    """
    a = b = c = d = 0.0
    whole = query.size - query.size % 4
    for f in range(whole, query.size):
        a += np.float64(query[f]) * np.float64(vectors[row, f])
    for f in range(0, whole, 4):
        a += np.float64(query[f]) * np.float64(vectors[row, f])
        b += np.float64(query[f + 1]) * np.float64(vectors[row, f + 1])
        c += np.float64(query[f + 2]) * np.float64(vectors[row, f + 2])
        d += np.float64(query[f + 3]) * np.float64(vectors[row, f + 3])
    return np.float32(((a + b) + (c + d)) * np.float64(scale[row]))


@kernel
def unit_rows(raw: NDArray[np.float32], out: NDArray[np.float32]) -> tuple[int, int]:
    """Scale each row of `raw` (n, dim) to unit length into `out` (n, dim).

    Returns:
        `(row, fault)` of the first bad row, fault 1 = not finite, 2 = all zero; `(-1, 0)` if none.
    """
    dim = raw.shape[1]
    for i in range(raw.shape[0]):
        total = 0.0
        for f in range(dim):
            total += np.float64(raw[i, f]) * np.float64(raw[i, f])
        if not np.isfinite(total):
            return i, 1
        if total == 0.0:
            return i, 2
        scale = 1.0 / np.sqrt(total)
        for f in range(dim):
            out[i, f] = np.float32(raw[i, f] * scale)
    return -1, 0


@kernel
def lengths(raw: NDArray[np.float32]) -> NDArray[np.float64]:
    """The length of each row of `raw` (n, dim), 0 where a number in it is not finite; (n,)."""
    out = np.zeros(raw.shape[0])
    for i in range(raw.shape[0]):
        total = 0.0
        for f in range(raw.shape[1]):
            total += np.float64(raw[i, f]) * np.float64(raw[i, f])
        if np.isfinite(total):
            out[i] = np.sqrt(total)
    return out
