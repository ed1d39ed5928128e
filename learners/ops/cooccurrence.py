"""Item pairs clicked by the same user: fading weights in a bounded list of neighbours for each item."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from learners.ops.hashing import mix
from learners.ops.table import mark
from stream.kernel import kernel

__all__ = ["ROOM", "accumulate", "add_pairs", "drop_rows", "rebase"]

ROOM = 32
"""Half-lives that a weight may lie beyond the reference before the reference moves."""

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


@kernel
def rebase(neighbours: Int32, weights: Float32, degree: Float64, used: int, steps: float) -> None:
    """Move the reference on by `steps` whole half-lives; neighbours faded below 2^-60 leave their slot."""
    factor = 2.0**-steps
    for row in range(used):
        degree[row] *= factor
        if degree[row] < 2.0**-60:
            degree[row] = 0.0
        for s in range(neighbours.shape[1]):
            weights[row, s] *= np.float32(factor)
            if weights[row, s] < np.float32(2.0**-60):
                weights[row, s] = np.float32(0.0)
                neighbours[row, s] = -1


@kernel
def _add(neighbours: Int32, weights: Float32, row: int, other: int, weight: float) -> None:
    lightest = 0
    for s in range(neighbours.shape[1]):
        if neighbours[row, s] == other:
            weights[row, s] += np.float32(weight)
            return
        if weights[row, s] < weights[row, lightest]:
            lightest = s
    neighbours[row, lightest] = other
    weights[row, lightest] = np.float32(weight)


@kernel
def add_pairs(
    item: Int32,
    other: Int32,
    ts: Int64,
    other_ts: Int64,
    half_life: float,
    gap_half_life: float,
    reference: Int64,
    neighbours: Int32,
    weights: Float32,
    degree: Float64,
    used: int,
    flags: npt.NDArray[np.uint8],
    marked: Int32,
    size: Int64,
) -> None:
    """Add pairs in order to both items' lists; a pair clicked `gap` apart counts 2^-(gap / gap_half_life).

    `neighbours` and `weights` are (capacity, slots), -1 and 0 where empty; `degree` (capacity,) sums what a
    row was ever given, faded likewise. A full list gives up its lightest entry.
    """
    for n in range(item.size):
        ahead = (ts[n] - reference[0]) / half_life
        if ahead > ROOM:
            steps = np.floor(ahead)
            rebase(neighbours, weights, degree, used, steps)
            reference[0] += np.int64(steps * half_life)
            ahead = (ts[n] - reference[0]) / half_life
        weight = 2.0 ** max(ahead, -60.0)
        if gap_half_life > 0:
            weight *= 2.0 ** -(abs(ts[n] - other_ts[n]) / gap_half_life)
        _add(neighbours, weights, item[n], other[n], weight)
        _add(neighbours, weights, other[n], item[n], weight)
        degree[item[n]] += weight
        degree[other[n]] += weight
        mark(flags, marked, size, item[n])
        mark(flags, marked, size, other[n])


@kernel
def _slot(keys: Int32, row: int) -> int:
    # Twice signed: in machine code an unsigned and a signed integer would meet as floating point.
    place = np.int64(np.int64(mix(np.uint64(row), np.uint64(0)) >> np.uint64(1)) & np.int64(keys.size - 1))
    while keys[place] >= 0 and keys[place] != row:
        place = (place + 1) & (keys.size - 1)
    return int(place)


@kernel
def accumulate(
    recent: Int32,
    candidates: Int32,
    neighbours: Int32,
    weights: Float32,
    degree: Float64,
    fade: float,
    rank_decay: float,
    smoothing: float,
    power: float,
) -> tuple[Int32, Float64]:
    """Scores of what goes with `recent` (q,), newest first: (rows, scores) in the order of first meeting.

    score(j) = sum over q of rank_decay^q * w_ij / ((d_i + smoothing) * (d_j + smoothing))^power, with weights
    and degrees times `fade`. With `candidates` (c,) not empty only those are answered, in their order, 0
    where nothing links them.
    """
    room = 16
    while room < 2 * (recent.size * neighbours.shape[1] + 1):
        room *= 2
    keys = np.full(room, -1, np.int32)
    sums = np.zeros(room)
    met = np.empty(recent.size * neighbours.shape[1], np.int32)
    n_met = 0
    share = 1.0
    for q in range(recent.size):
        i = recent[q]
        if 0 <= i < degree.size:
            mine = (degree[i] * fade + smoothing) ** power
            for s in range(neighbours.shape[1]):
                j = neighbours[i, s]
                if j < 0:
                    continue
                place = _slot(keys, j)
                if keys[place] < 0:
                    keys[place] = j
                    met[n_met] = j
                    n_met += 1
                theirs = (degree[j] * fade + smoothing) ** power
                sums[place] += share * weights[i, s] * fade / (mine * theirs)
        share *= rank_decay
    rows = candidates if candidates.size else met[:n_met].copy()
    out = np.zeros(rows.size)
    for n in range(rows.size):
        place = _slot(keys, rows[n]) if rows[n] >= 0 else 0
        if rows[n] >= 0 and keys[place] == rows[n]:
            out[n] = sums[place]
    return rows, out


@kernel
def drop_rows(
    neighbours: Int32,
    weights: Float32,
    degree: Float64,
    used: int,
    gone: npt.NDArray[np.bool_],
    flags: npt.NDArray[np.uint8],
    marked: Int32,
    size: Int64,
) -> None:
    """Empty the lists of rows flagged in `gone` (n,), and take those rows out of every other list."""
    for row in range(used):
        is_touched = False
        is_gone = row < gone.size and gone[row]
        if is_gone:
            degree[row] = 0.0
            is_touched = True
        for s in range(neighbours.shape[1]):
            j = neighbours[row, s]
            if j >= 0 and (is_gone or (j < gone.size and gone[j])):
                neighbours[row, s] = -1
                weights[row, s] = np.float32(0.0)
                is_touched = True
        if is_touched:
            mark(flags, marked, size, row)
