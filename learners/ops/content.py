"""Sums of a ridge regression in whole numbers, and scores that blend what is learned with what is said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
from numba import njit

from stream.kernel import kernel

__all__ = [
    "CONTENT_ONE",
    "FACTOR_ONE",
    "blended",
    "mean_length",
    "moved_items",
    "ridge",
    "sum_items",
    "take_items",
]

F = TypeVar("F", bound=Callable[..., Any])
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int16 = npt.NDArray[np.int16]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

CONTENT_ONE = 1 << 14
"""What stands for 1 in a content vector of whole numbers; its numbers lie in -1..1, so they fit int16."""
FACTOR_ONE = 1 << 18
"""What stands for 1 in a factor of whole numbers."""
_MOST_FACTOR = 16.0 * FACTOR_ONE


def _vector_kernel(function: F) -> F:
    # Sums over a vector may be re-associated, which lets them use vector registers. What comes out is served
    # and logged as it is; nothing is learned from the same numbers worked out a second time.
    return cast(F, njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})(function))


@kernel
def _add_outer(a: Int64, content: Int16, sign: int) -> None:
    """a (K, K) += sign c c^T; a is symmetric, and only what is on and above its diagonal is written."""
    for i in range(content.size):
        if content[i] != 0:
            first = np.int64(sign) * np.int64(content[i])
            for j in range(i, content.size):
                a[i, j] += first * np.int64(content[j])


@kernel
def _add_steps(b: Int64, content: Int16, steps: Int64) -> None:
    """b (K, d) += c s^T; attributes fill few entries of c, and the others cost nothing."""
    for k in range(content.size):
        if content[k] != 0:
            for j in range(steps.size):
                b[k, j] += np.int64(content[k]) * steps[j]


@kernel
def moved_items(
    first: int,
    last: int,
    content: Int16,
    clicks: Int64,
    impressions: Int64,
    shown_weight: float,
    enough: float,
    version: Int64,
    summed: Int64,
    rows: Int32,
) -> tuple[int, int]:
    """Items of rows first:last with content and `enough` feedback whose factor has moved since `summed`.

    Fills `rows` (n,); returns how many were found, and the row to go on from.
    """
    found = 0
    for row in range(first, last):
        if content[row, 0] == 0 or version[row] == summed[row]:
            continue
        if clicks[row] + shown_weight * impressions[row] < enough:
            continue
        if found == rows.size:
            return found, row
        rows[found] = row
        found += 1
    return found, last


@kernel
def sum_items(
    rows: Int32,
    content: Int16,
    vectors: Float32,
    version: Int64,
    added: Int32,
    summed: Int64,
    a: Int64,
    b: Int64,
) -> None:
    """For each of `rows`: a (K, K) = sum c c^T and b (K, d) = sum c f^T with its factor f as it is now.

    `added` (rows, d) is the f that stands in b, and is replaced; `summed` its version, -1 of an item that is
    not in the sums. Whole numbers: sums of them are the same in
    whatever order items come, and what is taken out again leaves nothing behind. A term of `b` is below 2^37,
    so 2^26 items fit whatever they are.
    """
    steps = np.empty(vectors.shape[1], np.int64)
    for row in rows:
        if summed[row] < 0:
            _add_outer(a, content[row], 1)
        summed[row] = version[row]
        for j in range(steps.size):
            scaled = float(vectors[row, j]) * FACTOR_ONE
            factor = np.int64(np.rint(min(max(scaled, -_MOST_FACTOR), _MOST_FACTOR)))
            steps[j] = factor - np.int64(added[row, j])
            added[row, j] = factor
        _add_steps(b, content[row], steps)


@kernel
def take_items(rows: Int32, content: Int16, added: Int32, summed: Int64, a: Int64, b: Int64) -> None:
    """Take what `rows` had added out of the sums."""
    for row in rows:
        summed[row] = -1
        _add_outer(a, content[row], -1)
        _add_steps(b, content[row], -added[row].astype(np.int64))
        added[row] = 0


def ridge(a: Int64, b: Int64, prior: Float64, l2: float) -> Float64:
    """W (K, d) that minimises sum |f - c W|^2 + l2 |W - prior|^2: (A + l2 I)^-1 (B + l2 prior).

    `a` (K, K) and `b` (K, d) are those of `sum_items`. With l2 > 0 there is one answer, whatever A is.

    Example:
        >>> a, b = np.array([[3 * CONTENT_ONE**2]]), np.array([[6 * CONTENT_ONE * FACTOR_ONE]])
        >>> ridge(a, b, np.zeros((1, 1)), 1.0).tolist()
        [[1.5]]
    """
    upper = np.triu(a).astype(np.float64) / CONTENT_ONE**2
    gram = upper + np.triu(upper, 1).T + l2 * np.eye(len(a))
    targets = b.astype(np.float64) / (CONTENT_ONE * FACTOR_ONE) + l2 * prior
    return np.linalg.solve(gram, targets).astype(np.float64)


def mean_length(a: Int64, weights: Float64) -> float:
    """Root mean square length of c W over the items in `a` (K, K), see `sum_items`; 1 where there are none.

    Example:
        >>> a = np.array([[2, 1], [0, 1]]) * CONTENT_ONE**2
        >>> round(mean_length(a, np.array([[3.0], [1.0]])), 2), mean_length(a * 0, np.ones((2, 1)))
        (3.54, 1.0)
    """
    n_items = a[0, 0] / CONTENT_ONE**2
    if not n_items:
        return 1.0
    upper = a.astype(np.float64) / CONTENT_ONE**2
    # tr(W^T A W): what lies above the diagonal of A stands twice in it.
    products = np.einsum("id,ij,jd->", weights, upper, weights, optimize=True)
    twice = 2 * products - np.einsum("id,i,id->", weights, np.diag(upper), weights)
    return float(np.sqrt(max(twice, 0.0) / n_items))


@_vector_kernel
def blended(
    user: Float32,
    wanted: Float32,
    vectors: Float32,
    n_items: int,
    content: Int16,
    clicks: Int64,
    impressions: Int64,
    shown_weight: float,
    handover: float,
    rows: Int32,
    out: Float32,
) -> None:
    """out (n, 2) of `rows`: (1 - s) cos(p, q) + s w . c, and the share s of content.

    s = h / (n + h) for an item with content, n being its feedback: clicks + shown_weight impressions; 0 for
    others, of which the score is cos(p, q). `user` (d,) is p at length 1, `wanted` (K,) is w.
    """
    for at in range(rows.size):
        row = rows[at]
        out[at, 0] = 0.0
        out[at, 1] = 0.0
        if row < 0 or row >= n_items:
            continue
        learned = np.float32(0.0)
        square = np.float32(0.0)
        for j in range(user.size):
            learned += user[j] * vectors[row, j]
            square += vectors[row, j] * vectors[row, j]
        if square > 0.0:
            learned /= np.sqrt(square)
        share = np.float32(0.0)
        said = np.float32(0.0)
        # The first number of a content vector is its constant, which only a row without content lacks.
        if row < content.shape[0] and content[row, 0] != 0:
            share = np.float32(handover / (clicks[row] + shown_weight * impressions[row] + handover))
            for k in range(wanted.size):
                said += wanted[k] * np.float32(content[row, k])
        out[at, 0] = (np.float32(1.0) - share) * learned + share * said
        out[at, 1] = share
