"""Counts that fade: forward decay, so that time never has to touch a count (Cormode et al., ICDE 2009).

A click at t adds 2^((t - reference) / half_life) to its item's weight; the score now is the weight times
2^-((now - reference) / half_life). The order of items does not depend on now. References advance by whole
half-lives, which divides weights by an exact power of two.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from learners.ops.table import mark
from stream.kernel import kernel
from stream.ops.kinds import CLICK, ORGANIC

__all__ = ["ROOM", "add_clicks", "faded", "fill_pool", "offer", "offer_all", "order_pool", "rebase"]

ROOM = 64
"""Half-lives that a weight may lie beyond its reference before the reference moves."""

Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


@kernel
def faded(weights: Float64, used: int, factors: Float64, rows: Int32) -> Float64:
    """Weights (H, n) of `rows` (n,), each half-life's times its factor (H,); 0 for rows not in use."""
    out = np.zeros((factors.size, rows.size))
    for h in range(factors.size):
        for n in range(rows.size):
            if 0 <= rows[n] < used:
                out[h, n] = weights[h, rows[n]] * factors[h]
    return out


@kernel
def rebase(weights: Float64, used: int, steps: float) -> None:
    """Move one half-life's reference on by `steps` (whole) half-lives; what fades below 2^-900 becomes 0."""
    factor = 2.0**-steps
    for row in range(used):
        # Numbers below about 2^-1022 are subnormal, and arithmetic on them is many times slower.
        value = weights[row] * factor
        weights[row] = value if abs(value) >= 2.0**-900 else 0.0


@kernel
def _is_lighter(keys: Float64, pool: Int32, a: int, b: int) -> bool:
    """Whether place a of a pool goes before place b: lighter, or as light with a higher row number."""
    return bool(keys[a] < keys[b] or (keys[a] == keys[b] and pool[a] > pool[b]))


@kernel
def _swap(pool: Int32, keys: Float64, a: int, b: int) -> None:
    pool[a], pool[b] = pool[b], pool[a]
    keys[a], keys[b] = keys[b], keys[a]


@kernel
def _sink(pool: Int32, keys: Float64, n: int, place: int) -> None:
    """Move a place of the heap down until none below it is lighter."""
    while 2 * place + 1 < n:
        child = 2 * place + 1
        if child + 1 < n and _is_lighter(keys, pool, child + 1, child):
            child += 1
        if not _is_lighter(keys, pool, child, place):
            break
        _swap(pool, keys, place, child)
        place = child


@kernel
def order_pool(weights: Float64, pool: Int32, keys: Float64, n: int) -> None:
    """Make the pool a heap by the weights that its rows have now."""
    for p in range(n):
        keys[p] = weights[pool[p]]
    for p in range(n // 2 - 1, -1, -1):
        _sink(pool, keys, n, p)


@kernel
def offer(
    weights: Float64, pool: Int32, inside: npt.NDArray[np.uint8], n: int, keys: Float64, row: int
) -> int:
    """Let `row` into the pool of the heaviest rows; returns the pool's new length.

    `pool` (P,) holds n rows, `inside` flags them. Exact as long as weights only grow: a full pool gives up
    its lightest row (the highest row number among equals) if `row` outranks it. The pool is a heap by `keys`
    (P,), the weights when they were last looked at: too low for rows that have grown since, so the first
    place is weighed again until it holds.
    """
    if inside[row]:
        return n
    # There is room: add at the end and rise to its place.
    if n < pool.size:
        pool[n], keys[n] = row, weights[row]
        inside[row] = 1
        place = n
        while place > 0 and _is_lighter(keys, pool, place, (place - 1) // 2):
            _swap(pool, keys, place, (place - 1) // 2)
            place = (place - 1) // 2
        return n + 1
    # Rows inside gain weight without being moved. Only the first place decides, so only it is weighed
    # again: each turn makes one key true, so this ends.
    while keys[0] < weights[pool[0]]:
        keys[0] = weights[pool[0]]
        _sink(pool, keys, n, 0)
    last = pool[0]
    if weights[row] > weights[last] or (weights[row] == weights[last] and row < last):
        inside[last], inside[row] = 0, 1
        pool[0], keys[0] = row, weights[row]
        _sink(pool, keys, n, 0)
    return n


@kernel
def offer_all(
    weights: Float64, pool: Int32, inside: npt.NDArray[np.uint8], n: int, keys: Float64, rows: Int32
) -> int:
    """Offer every row of `rows` (n,); returns the pool's new length."""
    for m in range(rows.size):
        n = offer(weights, pool, inside, n, keys, rows[m])
    return n


@kernel
def fill_pool(weights: Float64, used: int, pool: Int32, inside: npt.NDArray[np.uint8], keys: Float64) -> int:
    """Choose the heaviest of all rows with a weight above 0 anew; `inside` is all 0. Returns how many."""
    n = 0
    for row in range(used):
        if weights[row] > 0.0:
            n = offer(weights, pool, inside, n, keys, row)
    return n


@kernel
def _sunk(
    weights: Float64, pool: Int32, inside: npt.NDArray[np.uint8], n: int, keys: Float64, row: int
) -> bool:
    """The weight of `row` fell: whether a row outside the pool may outrank one inside it now."""
    if not inside[row]:
        return False
    # Keys may be too low, never too high; after a fall they must be read anew.
    order_pool(weights, pool, keys, n)
    return bool(n == pool.size and pool[0] == row)


@kernel
def add_clicks(
    kind: npt.NDArray[np.int8],
    item: Int32,
    first: npt.NDArray[np.bool_],
    reward: Float64,
    ts: Int64,
    half_lives: Float64,
    reference: Int64,
    weights: Float64,
    used: int,
    clicks: Int64,
    first_at: Int64,
    last_at: Int64,
    pools: Int32,
    inside: npt.NDArray[np.uint8],
    lengths: Int64,
    keys: Float64,
    flags: npt.NDArray[np.uint8],
    marked: Int32,
    size: Int64,
) -> tuple[int, bool]:
    """Add the block's first and organic clicks in order, and take dislikes off; returns how many clicks there
    were, and whether a pool may lack a row now because one of its own has fallen: then fill it anew.

    `weights`, `inside` (H, capacity), `pools` and `keys` (H, P), `reference` and `lengths` (H,).
    """
    n, has_fallen = 0, False
    for o in range(kind.size):
        row = item[o]
        if row < 0 or reward[o] == 0.0 or not (kind[o] == ORGANIC or (kind[o] == CLICK and first[o])):
            continue
        is_click = reward[o] > 0.0
        if is_click:
            n += 1
            # Blocks are in order of arrival, not of time: `last_at` must not go back.
            if clicks[row] == 0:
                first_at[row] = ts[o]
                last_at[row] = ts[o]
            clicks[row] += 1
            last_at[row] = max(last_at[row], ts[o])
        mark(flags, marked, size, row)
        for h in range(half_lives.size):
            ahead = (ts[o] - reference[h]) / half_lives[h]
            if ahead > ROOM:
                # Whole half-lives only, so that weights are divided by an exact power of two.
                steps = np.floor(ahead)
                rebase(weights[h], used, steps)
                order_pool(weights[h], pools[h], keys[h], lengths[h])
                reference[h] += np.int64(steps * half_lives[h])
                ahead = (ts[o] - reference[h]) / half_lives[h]
            if is_click:
                weights[h, row] += 2.0**ahead
                if weights[h, row] > 0.0:
                    lengths[h] = offer(weights[h], pools[h], inside[h], lengths[h], keys[h], row)
            else:
                weights[h, row] -= 2.0**ahead
                has_fallen |= _sunk(weights[h], pools[h], inside[h], lengths[h], keys[h], row)
    return n, has_fallen
