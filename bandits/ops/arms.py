"""Counting impressions and rewards by item row."""

from __future__ import annotations

import numpy as np

from bandits.ops.arrays import Bool, Float64, Int8, Int32, Int64
from stream.kernel import kernel
from stream.ops.kinds import CLICK, SHOWN

__all__ = ["count_outcomes"]


@kernel
def count_outcomes(
    kind: Int8,
    slate: Int32,
    place: Int32,
    reward: Float64,
    start: Int32,
    items: Int32,
    decided: Bool,
    shown: Int64,
    total: Float64,
    mark: Bool,
) -> Int32:
    """Add impressions to `shown` (n,) and rewards to `total` (n,) for decided slates; returns the rows
    touched.

    `mark` (n,) is scratch: false on entry and on return.
    """
    touched, n_touched = np.empty(items.size, np.int32), 0
    for o in range(kind.size):
        s = slate[o]
        is_click = kind[o] == CLICK
        if not (is_click or kind[o] == SHOWN) or s < 0 or not decided[s]:
            continue
        low = place[o] if is_click else start[s]
        high = low + 1 if is_click else start[s + 1]
        for n in range(low, high):
            row = items[n]
            if row < 0:
                continue
            if is_click:
                total[row] += reward[o]
            else:
                shown[row] += 1
            if not mark[row]:
                mark[row] = True
                touched[n_touched] = row
                n_touched += 1
    for i in range(n_touched):
        mark[touched[i]] = False
    return touched[:n_touched]
