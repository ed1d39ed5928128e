"""Candidates of all sources in one pass: eligible ones, each once, under the source that ranks it best."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stream.kernel import kernel

__all__ = ["Columns", "holds", "merge_candidates"]

Int8 = npt.NDArray[np.int8]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]


class Columns(NamedTuple):
    """What says whether an item may be shown, by item row, each (n_items,)."""

    known: Bool
    deleted: Bool
    group: Int32
    from_ms: Int64
    until_ms: Int64


@kernel
def holds(codes: Int32, code: int) -> bool:
    """Whether `code` is one of `codes` (n,)."""
    inside = False
    for each in codes:
        inside = inside or each == code
    return inside


@kernel
def merge_candidates(
    rows: Int32,
    ends: Int32,
    columns: Columns,
    allowed: Bool,
    now_ms: int,
    any_group: bool,
    groups: Int32,
    out_rows: Int32,
    out_sources: Int8,
) -> int:
    """Write the distinct eligible rows of `rows` (m,) to the outputs (m,); returns how many.

    Source s offers `rows[ends[s - 1]:ends[s]]`, best first. All first choices come first, then all second
    ones; an item is attributed to the source that ranks it best, of equals the one that stands first.

    Eligible: known, not deleted, available at `now_ms`, in one of `groups` unless `any_group`, and true in
    `allowed` (n_items,), which is left as it was.

    Example:
        >>> n = np.zeros(3, np.int64)
        >>> yes, no = np.ones(3, np.bool_), np.zeros(3, np.bool_)
        >>> columns = Columns(yes, no, np.zeros(3, np.int32), n, n + 9)
        >>> out, by = np.empty(4, np.int32), np.empty(4, np.int8)
        >>> rows, ends = np.array([2, 0, 0, 7], np.int32), np.array([2, 4], np.int32)
        >>> merge_candidates(rows, ends, columns, ~no, 5, True, np.zeros(0, np.int32), out, by)
        2
        >>> out[:2].tolist(), by[:2].tolist()
        ([2, 0], [0, 1])
    """
    limit = min(columns.known.size, allowed.size)
    kept, rank, more = 0, 0, True
    while more:
        more = False
        start = 0
        for source in range(ends.size):
            at = start + rank
            start = ends[source]
            if at >= ends[source]:
                continue
            more = True
            row = rows[at]
            if row < 0 or row >= limit or not allowed[row]:
                continue
            if not columns.known[row] or columns.deleted[row]:
                continue
            if now_ms < columns.from_ms[row] or now_ms >= columns.until_ms[row]:
                continue
            if not any_group and not holds(groups, columns.group[row]):
                continue
            allowed[row] = False
            out_rows[kept] = row
            out_sources[kept] = source
            kept += 1
        rank += 1
    for i in range(kept):
        allowed[out_rows[i]] = True
    return kept
