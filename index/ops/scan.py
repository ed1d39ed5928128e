"""Which rows may be answers, the exact scan over them, and the last word on an answer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from index.ops.heap import keep_best, replace_root
from index.ops.records import ALIVE, TIMED, Allow, Rows
from index.ops.vectors import exact_score, fast_score
from stream.kernel import background_kernel, kernel

__all__ = ["allowed", "allowed_share", "restricted", "scan", "settle"]

_MARGIN = 16  # rows beyond k that are scored exactly


@kernel
def _among(wanted: NDArray[np.int32], group: int) -> bool:
    """Whether `group` is one of `wanted` (n,), sorted."""
    place = np.searchsorted(wanted, group)
    return bool(place < wanted.size and wanted[place] == group)


@kernel
def allowed(rows: Rows, allow: Allow, row: int) -> bool:
    """Whether a living `row` may be an answer: in a wanted group, available now, in the mask.

    Taking an array out of a record counts a reference, atomically: loops ask `restricted` first, and whether
    the row is alive, and hold the arrays that they need in variables.
    """
    timed = allow.by_time and rows.state[row] & TIMED != 0
    if timed and (allow.now_ms < rows.from_ms[row] or allow.now_ms >= rows.until_ms[row]):
        return False
    if allow.by_mask and (row >= allow.mask.size or not allow.mask[row]):
        return False
    return not allow.by_group or _among(allow.groups, rows.group[row])


@kernel
def restricted(allow: Allow) -> bool:
    """Whether anything but being alive is asked of an answer."""
    return allow.by_group or allow.by_time or allow.by_mask


@kernel
def allowed_share(rows: Rows, allow: Allow, sample: NDArray[np.int32]) -> float:
    """Share of the rows in `sample` (n,) that may be answers."""
    n = 0
    for i in range(sample.size):
        if rows.state[sample[i]] & ALIVE != 0 and allowed(rows, allow, sample[i]):
            n += 1
    return n / max(1, sample.size)


@background_kernel
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
    vectors = rows.vectors
    scale = rows.scale
    state = rows.state
    group = rows.group
    wanted = allow.groups
    by_group = allow.by_group
    others = allow.by_time or allow.by_mask
    kept = 0
    seen = 0
    for row in range(n_rows):
        if state[row] & ALIVE == 0 or (by_group and not _among(wanted, group[row])):
            continue
        if others and not allowed(rows, allow, row):
            continue
        seen += 1
        score = exact_score(query, vectors, scale, row) if exact else fast_score(query, vectors, scale, row)
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
    # Lanes in any order err in the last bits only: the exact sum is left for those that may be the best.
    room = min(k + _MARGIN, candidates.size)
    near_scores = np.empty(room, np.float32)
    near_rows = np.empty(room, np.int32)
    vectors = rows.vectors
    scale = rows.scale
    state = rows.state
    filtered = restricted(allow)
    n_near = 0
    for i in range(candidates.size):
        row = candidates[i]
        if state[row] & ALIVE != 0 and (not filtered or allowed(rows, allow, row)):
            score = fast_score(query, vectors, scale, row)
            now = keep_best(near_scores, near_rows, n_near, room, score, row)
            if now >= 0:
                n_near = now
    kept = 0
    for i in range(n_near):
        score = exact_score(query, vectors, scale, near_rows[i])
        now = keep_best(out_scores, out_rows, kept, min(k, n_near), score, near_rows[i])
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
