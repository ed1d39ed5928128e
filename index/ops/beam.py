"""A best-first walk over the links, reading the newest vectors (HNSW's level-0 search, arXiv 1603.09320 alg.
2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from index.ops.heap import keep_best, pop, push
from index.ops.prefetch import prefetch_row
from index.ops.records import Allow, Entry, Links, Rows, Scratch
from index.ops.scan import allowed
from index.ops.vectors import fast_score
from stream.kernel import kernel

__all__ = ["beam", "fresh_stamp"]

_N_ENTRIES = 8  # pivots a walk starts from; more cost score computations and gained nothing measurable


@kernel
def fresh_stamp(scratch: Scratch, n_rows: int) -> int:
    """A mark that no row of `visited` bears; every 255th call wipes the marks of the first `n_rows`."""
    stamp = int(scratch.stamp[0]) + 1
    if stamp > 255:
        scratch.visited[:n_rows] = 0
        stamp = 1
    scratch.stamp[0] = stamp
    return stamp


@kernel
def _enter(
    query: NDArray[np.float32],
    rows: Rows,
    entry: Entry,
    allow: Allow,
    ef: int,
    stamp: np.uint8,
    scratch: Scratch,
) -> tuple[int, int]:
    """Open the pivots nearest to `query` and score every pending row; returns how many are kept and open."""
    n_open = 0
    for i in range(entry.pivots.size):
        score = fast_score(query, entry.vectors, i)
        now = keep_best(scratch.open_score, scratch.open_row, n_open, _N_ENTRIES, score, entry.pivots[i])
        if now >= 0:
            n_open = now
    # The chosen pivots may have moved since their vectors were copied: score them as they are.
    n_start = n_open
    scratch.near_row[:n_start] = scratch.open_row[:n_start]
    n_open = 0
    n_best = 0
    for i in range(n_start + entry.pending.size):
        row = scratch.near_row[i] if i < n_start else entry.pending[i - n_start]
        if scratch.visited[row] == stamp:
            continue
        scratch.visited[row] = stamp
        score = fast_score(query, rows.vectors, row)
        if i < n_start:
            push(scratch.open_score, scratch.open_row, n_open, -score, row)
            n_open += 1
        if allowed(rows, allow, row):
            now = keep_best(scratch.best_score, scratch.best_row, n_best, ef, score, row)
            if now >= 0:
                n_best = now
    return n_best, n_open


@kernel
def _unvisited(row: int, rows: Rows, links: Links, stamp: np.uint8, scratch: Scratch) -> int:
    """Mark the rows that `row` links to and that are new to this walk; they are in `picked`, and on their way
    here."""
    n_new = 0
    for e in range(min(np.int64(links.degree[row]), links.to.shape[1])):
        to = links.to[row, e]
        if scratch.visited[to] != stamp:
            scratch.visited[to] = stamp
            scratch.picked[n_new] = to
            n_new += 1
            prefetch_row(rows.vectors, to)
    return n_new


@kernel
def beam(
    query: NDArray[np.float32],
    rows: Rows,
    n_rows: int,
    links: Links,
    entry: Entry,
    allow: Allow,
    ef: int,
    max_visits: int,
    scratch: Scratch,
) -> tuple[int, int]:
    """Walk from the best pivots towards `query` (width,) until the `ef` best allowed rows stop improving.

    Rows that may not be answers are walked through but not kept. Pending rows are all scored. Vectors and
    links may change under the walk: every link is a valid row number at all times, and a torn vector can only
    misjudge its own row, whose answer is scored again by `settle`.

    Returns:
        How many rows were kept (in `best_row`) and how many links' ends were scored; the walk gives up at
        `max_visits`.
    """
    stamp = np.uint8(fresh_stamp(scratch, n_rows))
    best_score = scratch.best_score
    open_score = scratch.open_score
    n_best, n_open = _enter(query, rows, entry, allow, ef, stamp, scratch)
    visits = 0
    room = open_score.size - 1
    while n_open > 0 and visits < max_visits:
        row = scratch.open_row[0]
        if n_best >= ef and -open_score[0] < best_score[0]:
            break
        n_open = pop(open_score, scratch.open_row, n_open)
        n_new = _unvisited(row, rows, links, stamp, scratch)
        visits += n_new
        for e in range(n_new):
            to = scratch.picked[e]
            score = fast_score(query, rows.vectors, to)
            if n_best >= ef and score <= best_score[0]:
                continue
            if n_open < room:
                push(open_score, scratch.open_row, n_open, -score, to)
                n_open += 1
            if allowed(rows, allow, to):
                now = keep_best(best_score, scratch.best_row, n_best, ef, score, to)
                if now >= 0:
                    n_best = now
    return n_best, visits
