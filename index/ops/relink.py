"""Choosing a row's links: diverse near rows, and the way back from each (arXiv 1603.09320 alg. 1 and 4).

A new row, or one that jumped, finds its candidates by a walk; one that drifted finds them among its
neighbours and theirs, at a tenth of the price.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from index.ops.beam import beam, fresh_stamp
from index.ops.heap import keep_best
from index.ops.records import ALIVE, Allow, Entry, Links, Rows, Scratch
from index.ops.vectors import between
from stream.kernel import background_kernel, kernel

__all__ = ["pick_diverse", "relink"]

_MOST = 80  # candidates kept for the choice: more changed recall by less than 0.001
_OWN = 24  # links a row chooses itself; the rest of its room is for links back


@kernel
def pick_diverse(
    vectors: NDArray[np.float32],
    scale: NDArray[np.float32],
    scores: NDArray[np.float32],
    rows: NDArray[np.int32],
    n: int,
    most: int,
    out: NDArray[np.int32],
) -> int:
    """Choose among `n` candidates, given nearest first: one is taken if no row already taken is nearer to it.

    Returns:
        How many of at most `most` were written to `out`.
    """
    m = 0
    for i in range(n):
        taken = True
        for j in range(m):
            if between(vectors, scale, rows[i], out[j]) > scores[i]:
                taken = False
                break
        if taken:
            out[m] = rows[i]
            m += 1
            if m == most:
                break
    return m


@kernel
def _sort_descending(scores: NDArray[np.float32], rows: NDArray[np.int32], n: int) -> None:
    """Insertion sort for the few dozen entries of a heap or a link list."""
    for i in range(1, n):
        score = scores[i]
        row = rows[i]
        j = i
        while j > 0 and scores[j - 1] < score:
            scores[j] = scores[j - 1]
            rows[j] = rows[j - 1]
            j -= 1
        scores[j] = score
        rows[j] = row


@kernel
def _two_hops(row: int, rows: Rows, n_rows: int, links: Links, scratch: Scratch) -> int:
    """Collect the best living rows within two links of `row` as candidates; returns how many."""
    stamp = np.uint8(fresh_stamp(scratch, n_rows))
    vectors, scale, state, visited = rows.vectors, rows.scale, rows.state, scratch.visited
    links_to, degrees = links.to, links.degree
    near_score, near_row = scratch.near_score, scratch.near_row
    visited[row] = stamp
    own = int(degrees[row])
    n = 0
    for e in range(own + 1):
        # The last round walks the row's own links, the rounds before it the links of each neighbour.
        via = links_to[row, e] if e < own else row
        for f in range(degrees[via]):
            to = links_to[via, f]
            if visited[to] == stamp:
                continue
            visited[to] = stamp
            if state[to] & ALIVE == 0:
                continue
            now = keep_best(near_score, near_row, n, _MOST, between(vectors, scale, row, to), to)
            if now >= 0:
                n = now
    return n


@kernel
def _by_walk(
    row: int,
    rows: Rows,
    n_rows: int,
    links: Links,
    entry: Entry,
    everything: Allow,
    ef: int,
    scratch: Scratch,
) -> int:
    """Collect the best living rows that a walk towards `row` finds as candidates; returns how many."""
    unit = rows.vectors[row] * rows.scale[row]
    n_best, _ = beam(unit, rows, n_rows, links, entry, everything, ef, n_rows, scratch)
    best_score, best_row = scratch.best_score, scratch.best_row
    near_score, near_row = scratch.near_score, scratch.near_row
    n = 0
    for i in range(n_best):
        if best_row[i] != row:
            now = keep_best(near_score, near_row, n, _MOST, best_score[i], best_row[i])
            if now >= 0:
                n = now
    return n


@kernel
def _link_back(row: int, to: int, rows: Rows, links: Links, scratch: Scratch) -> None:
    """Give `to` a link to `row`; when its room is full, let it choose its links anew."""
    vectors, scale, state, links_to = rows.vectors, rows.scale, rows.state, links.to
    back_score, back_row, back_picked = scratch.back_score, scratch.back_row, scratch.back_picked
    degree = int(links.degree[to])
    for e in range(degree):
        if links_to[to, e] == row:
            return
    if degree < links_to.shape[1]:
        links_to[to, degree] = row
        links.degree[to] = degree + 1
        return
    n = 0
    for e in range(degree + 1):
        other = links_to[to, e] if e < degree else row
        if state[other] & ALIVE != 0:
            back_row[n] = other
            back_score[n] = between(vectors, scale, to, other)
            n += 1
    _sort_descending(back_score, back_row, n)
    m = pick_diverse(vectors, scale, back_score, back_row, n, degree, back_picked)
    for e in range(m):
        links_to[to, e] = back_picked[e]
    links.degree[to] = m


@background_kernel
def relink(
    targets: NDArray[np.int32],
    rows: Rows,
    n_rows: int,
    links: Links,
    entry: Entry,
    everything: Allow,
    ef: int,
    jump: float,
    scratch: Scratch,
) -> int:
    """Choose the links of each row in `targets` (n,) anew and clear its `moved`; returns how many were alive.

    A row that moved farther than `jump`, or that has no links, looks for its place by a walk of breadth `ef`.
    Searches may run meanwhile: entries are written before the degree that covers them, and each is a valid
    row at every instant.
    """
    done = 0
    for i in range(targets.size):
        row = targets[i]
        if rows.state[row] & ALIVE == 0:
            continue
        far = rows.moved[row] > jump or links.degree[row] == 0
        rows.moved[row] = np.float32(0.0)
        if far:
            n = _by_walk(row, rows, n_rows, links, entry, everything, ef, scratch)
        else:
            n = _two_hops(row, rows, n_rows, links, scratch)
        _sort_descending(scratch.near_score, scratch.near_row, n)
        m = pick_diverse(
            rows.vectors, rows.scale, scratch.near_score, scratch.near_row, n, _OWN, scratch.picked
        )
        done += 1
        if m == 0:
            continue  # nobody else is alive: keep the old links as bridges
        for e in range(m):
            links.to[row, e] = scratch.picked[e]
        links.degree[row] = m
        for e in range(m):
            _link_back(row, scratch.picked[e], rows, links, scratch)
    return done
