"""Operations on lists, in order: which list each of them means, and what is open behind them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stream.kernel import kernel
from stream.ops.kinds import CLICK, CLOSED, SHOWN

__all__ = ["follow_operations"]

Int32 = npt.NDArray[np.int32]
Float64 = npt.NDArray[np.float64]


@kernel
def follow_operations(
    kind: npt.NDArray[np.int8],
    ref: Int32,
    place: Int32,
    current: Int32,
    n_shown: Int32,
    rate: Float64,
    number: Int32,
    used: Int32,
    stands_for: Float64,
) -> tuple[int, int]:
    """Walk through operations; returns how many lists they name, and how many clicks name none.

    Candidates are numbered: first one for each of the requests, where its list was open before (`current`
    (requests,) says so, else -1), then the lists that are shown here, in order. `n_shown` and `rate` are by
    candidate; a click makes the rate of its list 1. Out come `current` as it is behind the operations, for
    each operation the `number` of its list (-1: nothing is to do) and for how many its list `stands_for` by
    then, and in `used` the candidates by these numbers, which go by first use.
    """
    n_before, n_used, n_missed = current.size, 0, 0
    opened = n_before
    numbers = np.full(n_shown.size, -1, np.int32)
    for o in range(kind.size):
        r, number[o] = ref[o], -1
        if kind[o] == SHOWN:
            now = opened
            opened += 1
            if rate[now] > 0.0:
                current[r] = now
            else:
                # It comes with its first click, which is next, and only if it was left out before.
                if current[r] < 0:
                    rate[now], current[r] = 1.0, now
                continue
        else:
            now = current[r]
            if now < 0 or place[o] >= n_shown[now]:
                n_missed += kind[o] == CLICK
                if kind[o] == CLOSED:
                    current[r] = -1
                continue
            if kind[o] == CLICK:
                rate[now] = 1.0  # with a click it would be here in any case
            else:
                current[r] = -1
        if numbers[now] < 0:
            numbers[now], used[n_used] = n_used, now
            n_used += 1
        number[o], stands_for[o] = numbers[now], 1.0 / rate[now]
    return n_used, n_missed
