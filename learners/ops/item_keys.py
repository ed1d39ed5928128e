"""Keys of many rows at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from learners.ops.prefetch import prefetch
from stream.kernel import kernel

__all__ = ["gather_keys"]


@kernel
def gather_keys(
    rows: npt.NDArray[np.int32],
    keys: npt.NDArray[np.uint64],
    looked_at: npt.NDArray[np.int64],
    turn: int,
    out: npt.NDArray[np.uint64],
) -> int:
    """Fill `out` (n,) with the keys of `rows` (n,), 0 for -1; returns how many rows were not looked at in
    this turn, whose keys may be another item's."""
    n_old = 0
    for n in range(rows.size):
        # Rows of a list lie anywhere in the table: each is asked for before its turn comes.
        ahead = rows[min(n + 16, rows.size - 1)]
        prefetch(keys, ahead)
        prefetch(looked_at, ahead)
        row = rows[n]
        if row < 0:
            out[n] = 0
            continue
        out[n] = keys[row]
        if looked_at[row] < turn:
            n_old += 1
    return n_old
