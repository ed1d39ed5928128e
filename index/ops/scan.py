"""Which rows may be answers, the exact scan over them, and the last word on an answer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from index.ops.heap import keep_best, replace_root
from index.ops.records import ALIVE, TIMED, Allow, Rows
from index.ops.vectors import exact_score, fast_score
from stream.kernel import kernel

__all__ = ["allowed", "allowed_share", "scan", "settle"]


@kernel
def allowed(rows: Rows, allow: Allow, row: int) -> bool:
    """Whether `row` may be an answer: alive, in a wanted group, available now, in the mask."""
    state = rows.state[row]
    if state & ALIVE == 0:
        return False
    timed = allow.by_time and state & TIMED != 0
    if timed and (allow.now_ms < rows.from_ms[row] or allow.now_ms >= rows.until_ms[row]):
        return False
    if allow.by_mask and (row >= allow.mask.size or not allow.mask[row]):
        return False
    if allow.by_group:
        place = np.searchsorted(allow.groups, rows.group[row])
        return bool(place < allow.groups.size and allow.groups[place] == rows.group[row])
    return True


@kernel
def allowed_share(rows: Rows, allow: Allow, sample: NDArray[np.int32]) -> float:
    """Share of the rows in `sample` (n,) that may be answers."""
    n = 0
    for i in range(sample.size):
        if allowed(rows, allow, sample[i]):
            n += 1
    return n / max(1, sample.size)


@kernel
def scan(
    query: NDArray[np.float32],
    rows: Rows,
    n_rows: int,
    allow: Allow,
    room: int,
    exact: bool,
    best_score: NDArray[np.float32],
    best_row: NDArray[np.int32],
) -> tuple[int, int]:
    """Score every allowed row among the first `n_rows` and keep the `room` best in a heap.

    Returns:
        How many were kept and how many were allowed.
    """
    kept = 0
    seen = 0
    for row in range(n_rows):
        if not allowed(rows, allow, row):
            continue
        seen += 1
        score = exact_score(query, rows.vectors, row) if exact else fast_score(query, rows.vectors, row)
        now = keep_best(best_score, best_row, kept, room, score, row)
        if now >= 0:
            kept = now
    return kept, seen


@kernel
def settle(
    query: NDArray[np.float32],
    rows: Rows,
    allow: Allow,
    k: int,
    candidates: NDArray[np.int32],
    out_rows: NDArray[np.int32],
    out_scores: NDArray[np.float32],
) -> int:
    """Score `candidates` (n,) anew, drop what is no longer allowed, and write the best `k` in order.

    Called under the lock against writers: whole rows, each answer true at one instant. `candidates` are
    distinct.

    Returns:
        How many answers were written, at most `k`: score descending, ties by row.
    """
    room = min(k, candidates.size)
    kept = 0
    for i in range(candidates.size):
        row = candidates[i]
        if allowed(rows, allow, row):
            score = exact_score(query, rows.vectors, row)
            now = keep_best(out_scores, out_rows, kept, room, score, row)
            if now >= 0:
                kept = now
    # The worst is at the root: take it off and put it behind what is left, until all stand in order.
    for last in range(kept - 1, 0, -1):
        score = out_scores[0]
        row = out_rows[0]
        replace_root(out_scores, out_rows, last, out_scores[last], out_rows[last])
        out_scores[last] = score
        out_rows[last] = row
    return kept
