"""Passes over all rows: writing vectors, who moved most, and who still points at removed rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from index.ops.records import ALIVE, PENDING, Links, Rows
from index.ops.vectors import LONGEST, lengths
from stream.kernel import background_kernel, kernel

__all__ = ["distance_moved", "hold_rows", "links_to", "most_moved", "write_rows"]

_BINS = 256
_SPAN = 2.0  # a path longer than this is simply "far"


@kernel
def write_rows(
    targets: NDArray[np.int32],
    given: NDArray[np.float32],
    scales: NDArray[np.float32],
    rows: Rows,
    jump: float,
    unplaced: NDArray[np.int32],
) -> tuple[int, int]:
    """Copy `given` (n, dim) with their `scales` (n,) into the rows `targets` (n,), adding to each row's path.

    A row that comes to life, or moves farther than `jump` at once, has no links that lead to it: it is marked
    pending and written to `unplaced` (n,), unless it was pending before.

    Returns:
        How many rows came to life, and how many are unplaced.
    """
    vectors, scale, state, moved = rows.vectors, rows.scale, rows.state, rows.moved
    n_born = 0
    n_unplaced = 0
    for i in range(targets.size):
        row = targets[i]
        born = state[row] & ALIVE == 0
        before = scale[row]
        total = np.float32(0.0)
        for f in range(given.shape[1]):
            step = given[i, f] * scales[i] - vectors[row, f] * before
            total += step * step
            vectors[row, f] = given[i, f]
        scale[row] = scales[i]
        if born or total > jump * jump:
            moved[row] = np.float32(_SPAN)
            if state[row] & PENDING == 0:
                unplaced[n_unplaced] = row
                n_unplaced += 1
            state[row] |= np.uint8(ALIVE | PENDING)
        else:
            moved[row] += np.sqrt(total)
        if born:
            n_born += 1
    return n_born, n_unplaced


@kernel
def hold_rows(targets: NDArray[np.int32], given: NDArray[np.float32], rows: Rows) -> None:
    """Copy `given` (n, dim) into those of the rows `targets` (n,) that are not alive; what has no direction
    is zero, since walks may still lead through them."""
    vectors, scale, state = rows.vectors, rows.scale, rows.state
    sizes = lengths(given)
    for i in range(targets.size):
        row = targets[i]
        if state[row] & ALIVE == 0:
            if sizes[i] >= 1 / LONGEST and sizes[i] <= LONGEST:
                vectors[row] = given[i]
                scale[row] = np.float32(1.0 / sizes[i])
            else:
                vectors[row] = np.float32(0.0)
                scale[row] = np.float32(0.0)


@background_kernel
def most_moved(rows: Rows, n_rows: int, least: float, out: NDArray[np.int32], start: int) -> tuple[int, int]:
    """Find linked rows whose path is at least `least`, those with the longest first in line.

    A histogram finds the bar over which about `out.size` rows stand; rows are then taken from `start` on,
    around the end, so that equals have their turn.

    Returns:
        How many rows were written to `out`, and how many there are in all (the backlog).
    """
    moved, state = rows.moved, rows.state
    counts = np.zeros(_BINS, np.int64)
    backlog = 0
    for row in range(n_rows):
        if moved[row] >= least and state[row] & (ALIVE | PENDING) == ALIVE:
            counts[min(_BINS - 1, int(moved[row] * (_BINS / _SPAN)))] += 1
            backlog += 1
    above = 0
    bar = _BINS
    while bar > 0 and above < out.size:
        bar -= 1
        above += counts[bar]
    strictly = above - counts[bar] if bar < _BINS else 0
    spare = out.size - strictly  # places left for rows of the bar's own bin
    n = 0
    for i in range(n_rows):
        row = start + i
        if row >= n_rows:
            row -= n_rows
        if moved[row] < least or state[row] & (ALIVE | PENDING) != ALIVE:
            continue
        place = min(_BINS - 1, int(moved[row] * (_BINS / _SPAN)))
        if place < bar or n >= out.size:
            continue
        if place == bar:
            if spare == 0:
                continue
            spare -= 1
        out[n] = row
        n += 1
    return n, backlog


@background_kernel
def distance_moved(targets: NDArray[np.int32], then: NDArray[np.float32], rows: Rows) -> None:
    """Set each target's path to its distance from where it stood `then` (n, dim), in unit vectors."""
    vectors, scale, moved = rows.vectors, rows.scale, rows.moved
    for i in range(targets.size):
        row = targets[i]
        total = np.float32(0.0)
        for f in range(then.shape[1]):
            step = then[i, f] - vectors[row, f] * scale[row]
            total += step * step
        moved[row] = np.sqrt(total)


@background_kernel
def links_to(
    rows: Rows, n_rows: int, links: Links, leaving: NDArray[np.bool_], out: NDArray[np.int32]
) -> int:
    """Find the living rows with a link to one that is `leaving` (n_rows,); returns how many are in `out`."""
    state, ends, degrees = rows.state, links.to, links.degree
    n = 0
    for row in range(n_rows):
        if state[row] & ALIVE == 0:
            continue
        for e in range(degrees[row]):
            to = ends[row, e]
            if to < leaving.size and leaving[to]:
                out[n] = row
                n += 1
                break
    return n
