"""A best-first walk over the links, reading the newest vectors (HNSW's level-0 search, arXiv 1603.09320 alg.
2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from index.ops.heap import keep_best, pop, push
from index.ops.prefetch import prefetch_row
from index.ops.records import ALIVE, Allow, Entry, Links, Rows, Scratch
from index.ops.scan import allowed, restricted
from index.ops.vectors import fast_score, product
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
    vectors, scale, state, visited = rows.vectors, rows.scale, rows.state, scratch.visited
    pivots, pivot_vectors, pending = entry.pivots, entry.vectors, entry.pending
    open_score, open_row, near_row = scratch.open_score, scratch.open_row, scratch.near_row
    best_score, best_row = scratch.best_score, scratch.best_row
    filtered = restricted(allow)
    n_open = 0
    for i in range(pivots.size):
        score = product(query, pivot_vectors, i)
        now = keep_best(open_score, open_row, n_open, _N_ENTRIES, score, pivots[i])
        if now >= 0:
            n_open = now
    # The chosen pivots may have moved since their vectors were copied: score them as they are.
    n_start = n_open
    near_row[:n_start] = open_row[:n_start]
    n_open = 0
    n_best = 0
    for i in range(n_start + pending.size):
        row = near_row[i] if i < n_start else pending[i - n_start]
        if visited[row] == stamp:
            continue
        visited[row] = stamp
        score = fast_score(query, vectors, scale, row)
        if i < n_start:
            push(open_score, open_row, n_open, -score, row)
            n_open += 1
        if state[row] & ALIVE != 0 and (not filtered or allowed(rows, allow, row)):
            now = keep_best(best_score, best_row, n_best, ef, score, row)
            if now >= 0:
                n_best = now
    return n_best, n_open


@kernel
def _unvisited(
    links: NDArray[np.int32],
    degree: int,
    row: int,
    vectors: NDArray[np.float32],
    scale: NDArray[np.float32],
    visited: NDArray[np.uint8],
    stamp: np.uint8,
    out: NDArray[np.int32],
) -> int:
    """Mark the rows that `row` links to and that are new to this walk; they are in `out`, being fetched."""
    n_new = 0
    for e in range(min(degree, links.shape[1])):
        to = links[row, e]
        if visited[to] != stamp:
            visited[to] = stamp
            out[n_new] = to
            n_new += 1
            prefetch_row(vectors, to)
            prefetch_row(scale, to)
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
    """Walk from the best pivots towards a unit `query` (dim,) until the `ef` best allowed rows are found.

    Rows that may not be answers are walked through but not kept. Pending rows are all scored. Vectors and
    links may change under the walk: every link is a valid row number at all times, and a torn vector can only
    misjudge its own row, whose answer is scored again by `settle`.

    Returns:
        How many rows were kept (in `best_row`) and how many links' ends were scored; the walk gives up at
        `max_visits`.
    """
    stamp = np.uint8(fresh_stamp(scratch, n_rows))
    # Taking an array out of a record counts a reference, atomically: once, not once a row.
    vectors, scale, state = rows.vectors, rows.scale, rows.state
    visited, picked = scratch.visited, scratch.picked
    best_score, best_row = scratch.best_score, scratch.best_row
    open_score, open_row = scratch.open_score, scratch.open_row
    links_to, degrees = links.to, links.degree
    filtered = restricted(allow)
    n_best, n_open = _enter(query, rows, entry, allow, ef, stamp, scratch)
    visits = 0
    room = open_score.size - 1
    while n_open > 0 and visits < max_visits:
        row = open_row[0]
        if n_best >= ef and -open_score[0] < best_score[0]:
            break
        n_open = pop(open_score, open_row, n_open)
        prefetch_row(links_to, open_row[0])  # most likely the next one
        n_new = _unvisited(links_to, degrees[row], row, vectors, scale, visited, stamp, picked)
        visits += n_new
        for e in range(n_new):
            to = picked[e]
            score = fast_score(query, vectors, scale, to)
            if n_best >= ef and score <= best_score[0]:
                continue
            if n_open < room:
                push(open_score, open_row, n_open, -score, to)
                n_open += 1
            if state[to] & ALIVE != 0 and (not filtered or allowed(rows, allow, to)):
                now = keep_best(best_score, best_row, n_best, ef, score, to)
                if now >= 0:
                    n_best = now
    return n_best, visits
