"""A binary heap in two arrays: the worst at the root, ties broken so that the smaller row is better."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream.kernel import kernel

__all__ = ["keep_best", "pop", "push", "replace_root"]


@kernel
def push(
    scores: NDArray[np.float32], rows: NDArray[np.int32], n: int, score: float | np.float32, row: int
) -> None:
    """Add to a heap of `n` entries; the arrays have room for one more."""
    j = n
    while j > 0:
        up = (j - 1) >> 1
        if scores[up] < score or (scores[up] == score and rows[up] >= row):
            break
        scores[j] = scores[up]
        rows[j] = rows[up]
        j = up
    scores[j] = score
    rows[j] = row


@kernel
def replace_root(
    scores: NDArray[np.float32], rows: NDArray[np.int32], n: int, score: float | np.float32, row: int
) -> None:
    """Drop the worst of `n` entries and put this one in its place."""
    j = 0
    while True:
        c = 2 * j + 1
        if c >= n:
            break
        right = c + 1
        if right < n and (
            scores[right] < scores[c] or (scores[right] == scores[c] and rows[right] > rows[c])
        ):
            c = right
        if scores[c] > score or (scores[c] == score and rows[c] < row):
            break
        scores[j] = scores[c]
        rows[j] = rows[c]
        j = c
    scores[j] = score
    rows[j] = row


@kernel
def pop(scores: NDArray[np.float32], rows: NDArray[np.int32], n: int) -> int:
    """Drop the root of `n` entries; returns how many are left."""
    last = n - 1
    if last > 0:
        replace_root(scores, rows, last, scores[last], rows[last])
    return last


@kernel
def keep_best(
    scores: NDArray[np.float32],
    rows: NDArray[np.int32],
    n: int,
    room: int,
    score: float | np.float32,
    row: int,
) -> int:
    """Offer an entry to a heap that keeps the `room` best; returns the new count, -1 if refused."""
    if n < room:
        push(scores, rows, n, score, row)
        return n + 1
    if scores[0] < score or (scores[0] == score and rows[0] > row):
        replace_root(scores, rows, n, score, row)
        return n
    return -1
