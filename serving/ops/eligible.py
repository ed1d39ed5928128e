"""All items that may be shown to somebody: how many there are, and some of them drawn at random."""

from __future__ import annotations

import numpy as np

from bandits.ops.draws import uniform
from serving.ops.merge import Bool, Columns, Int32, holds
from stream.kernel import kernel

__all__ = ["count_eligible", "draw_eligible", "hide", "is_eligible"]

_PLACE = 2**31  # of the draws: no slate has so many places
_LISTED = 4_096


@kernel
def is_eligible(row: int, columns: Columns, now_ms: int, any_group: bool, groups: Int32) -> bool:
    """Whether an item may be shown: known, not deleted, available, in one of `groups` unless `any_group`."""
    return bool(
        columns.known[row]
        and not columns.deleted[row]
        and columns.from_ms[row] <= now_ms < columns.until_ms[row]
        and (any_group or holds(groups, columns.group[row]))
    )


@kernel
def count_eligible(columns: Columns, now_ms: int, any_group: bool, groups: Int32) -> tuple[int, int]:
    """How many items may be shown at `now_ms`, and until when that holds if no row changes."""
    n, until_ms = 0, np.int64(2**63 - 1)
    for row in range(columns.known.size):
        if not columns.known[row] or columns.deleted[row]:
            continue
        if columns.from_ms[row] > now_ms:
            until_ms = min(until_ms, columns.from_ms[row])
        elif columns.until_ms[row] > now_ms:
            until_ms = min(until_ms, columns.until_ms[row])
        n += is_eligible(row, columns, now_ms, any_group, groups)
    return n, int(until_ms)


@kernel
def hide(blocked: Int32, columns: Columns, allowed: Bool, now_ms: int, any_group: bool, groups: Int32) -> int:
    """Make `allowed` false for the rows `blocked` (m,); returns how many of them others could be shown."""
    n, limit = 0, min(columns.known.size, allowed.size)
    for row in blocked:
        if row < allowed.size and allowed[row]:
            allowed[row] = False
            n += row < limit and is_eligible(row, columns, now_ms, any_group, groups)
    return n


@kernel
def draw_eligible(
    columns: Columns, allowed: Bool, now_ms: int, any_group: bool, groups: Int32, key: np.uint64, n_left: int,
    out: Int32,
) -> int:  # fmt: skip
    """Fill `out` (m,) with distinct eligible rows that are true in `allowed`, of which there are `n_left`.

    Each next one is drawn uniformly from those that are left, by rejection; only a small catalogue, and one
    with too few of them, is listed. `allowed` is left as it was. Returns how many were drawn.
    """
    size, filled, lane = min(columns.known.size, allowed.size), 0, 0
    wanted = min(out.size, n_left)
    if size <= _LISTED or n_left * 256 < size or wanted * 2 > n_left:
        rows = np.empty(size, np.int32)
        n = 0
        for row in range(size):
            if allowed[row] and is_eligible(row, columns, now_ms, any_group, groups):
                rows[n] = row
                n += 1
        wanted = min(wanted, n)
        for at in range(wanted):
            other = at + int(uniform(key, _PLACE, at) * (n - at))
            rows[at], rows[other] = rows[other], rows[at]
            out[at] = rows[at]
        return wanted
    while filled < wanted and lane < 100_000 * wanted:
        row = int(uniform(key, _PLACE, lane) * size)
        lane += 1
        if allowed[row] and is_eligible(row, columns, now_ms, any_group, groups):
            out[filled] = row
            allowed[row] = False
            filled += 1
    for at in range(filled):
        allowed[out[at]] = True
    return filled
