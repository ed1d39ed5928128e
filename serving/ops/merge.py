"""Candidates of all sources in one pass: eligible ones, each once, the first source that named it kept."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stream.kernel import kernel

__all__ = ["Columns", "merge_candidates"]

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
def merge_candidates(
    rows: Int32,
    offered_by: Int8,
    columns: Columns,
    allowed: Bool,
    now_ms: int,
    any_group: bool,
    groups: Int32,
    out_rows: Int32,
    out_sources: Int8,
) -> int:
    """Write the distinct eligible rows of `rows` (m,) to the outputs (m,) in order; returns how many.

    Eligible: known, not deleted, available at `now_ms`, in one of `groups` unless `any_group`, and true in
    `allowed` (n_items,), which is left as it was.

    Example:
        >>> n = np.zeros(3, np.int64)
        >>> yes, no = np.ones(3, np.bool_), np.zeros(3, np.bool_)
        >>> columns = Columns(yes, no, np.zeros(3, np.int32), n, n + 9)
        >>> out, by = np.empty(4, np.int32), np.empty(4, np.int8)
        >>> rows, offered_by = np.array([2, 0, 2, 7], np.int32), np.array([0, 0, 1, 1], np.int8)
        >>> merge_candidates(rows, offered_by, columns, ~no, 5, True, np.zeros(0, np.int32), out, by)
        2
        >>> out[:2].tolist()
        [2, 0]
    """
    limit = min(columns.known.size, allowed.size)
    kept = 0
    for i in range(rows.size):
        row = rows[i]
        if row < 0 or row >= limit or not allowed[row]:
            continue
        if not columns.known[row] or columns.deleted[row]:
            continue
        if now_ms < columns.from_ms[row] or now_ms >= columns.until_ms[row]:
            continue
        if not any_group:
            inside = False
            for code in groups:
                inside = inside or code == columns.group[row]
            if not inside:
                continue
        allowed[row] = False
        out_rows[kept] = row
        out_sources[kept] = offered_by[i]
        kept += 1
    for i in range(kept):
        allowed[out_rows[i]] = True
    return kept
