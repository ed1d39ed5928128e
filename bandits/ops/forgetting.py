"""Sums that forget, in event time: a discount, or a window of parts.

Time is counted in whole steps. An arm has a few *slots*: slot p holds sums, and `epochs[p]` the step that
they are of. Both ways to forget are the same additions, and differ in what sums are worth later:

* a half-life has one slot, whose sums are worth `fading`^age after `age` steps;
* a window of `parts` steps has a slot for each, where epoch e stands in slot e mod parts: its sums count in
  full for `parts` steps and not at all from then on. `fading` is 0.

An older outcome is added as it would have become, so the order of outcomes has no meaning but for rounding.
"""

from __future__ import annotations

import numpy as np

from bandits.ops.arrays import Bool, Float64, Int8, Int32, Int64
from stream.kernel import kernel
from stream.ops.kinds import CLICK, SHOWN

__all__ = ["count_fading", "faded", "fold", "open_slot", "worth"]

# 2^-100 of anything is nothing beside a prior of 1; numbers below 2^-1022 are slow to calculate with.
_NOTHING = 2.0**-100


@kernel
def worth(age: int, parts: int, fading: float) -> float:
    """What a slot's sums are worth `age` steps after its own; what is newer than now counts in full.

    Example:
        >>> worth(2, 1, 0.5), worth(7, 8, 0.0), worth(8, 8, 0.0)
        (0.25, 1.0, 0.0)
    """
    if age <= 0:
        return 1.0
    if fading == 0.0:
        return 1.0 if age < parts else 0.0
    left = fading**age
    return left if left >= _NOTHING else 0.0


@kernel
def open_slot(epochs: Int64, sums: Float64, epoch: int, fading: float) -> tuple[int, float]:
    """The slot that an outcome of this epoch goes to, made ready, and what the outcome is worth there.

    `epochs` (parts,) and `sums` (parts, W) of one arm. 0: the slot is of a newer part of the window.
    """
    slot = epoch % epochs.size
    age = epoch - epochs[slot]
    if age <= 0:
        return slot, worth(-age, epochs.size, fading)
    # In a window the ages of one slot are multiples of `parts`: this empties it.
    left = worth(age, epochs.size, fading)
    for i in range(sums.shape[1]):
        sums[slot, i] *= left
    epochs[slot] = epoch
    return slot, 1.0


@kernel
def fold(epochs: Int64, sums: Float64, came: Int64, added: Float64, fading: float) -> None:
    """Add sums (k, W) of the epochs (k,) to the slots of one arm; exact where each has its own."""
    for k in range(came.size):
        slot, weight = open_slot(epochs, sums, came[k], fading)
        for i in range(sums.shape[1]):
            sums[slot, i] += weight * added[k, i]


@kernel
def faded(rows: Int32, epochs: Int64, sums: Float64, now: int, fading: float) -> Float64:
    """What the sums of each row (n,) are worth now, (n, W); 0 for rows that are not here.

    `epochs` (m, parts), `sums` (m, parts, W).
    """
    parts, width = epochs.shape[1], sums.shape[2]
    out = np.zeros((rows.size, width))
    for n in range(rows.size):
        row = rows[n]
        if row < 0 or row >= epochs.shape[0]:
            continue
        for p in range(parts):
            left = worth(now - epochs[row, p], parts, fading)
            if left > 0.0:
                for i in range(width):
                    out[n, i] += left * sums[row, p, i]
    return out


@kernel
def count_fading(
    kind: Int8,
    slate: Int32,
    place: Int32,
    reward: Float64,
    start: Int32,
    items: Int32,
    decided: Bool,
    at: Int64,
    fading: float,
    shown: Int64,
    epochs: Int64,
    sums: Float64,
    mark: Bool,
) -> Int32:
    """As `bandits.ops.arms.count_outcomes`, into slots: `sums` (n, parts, 2) of impressions and rewards.

    `at` (S,) is the epoch of each slate: a reward counts in that of its impression, however late it comes, so
    that both are worth the same at any time and their quotient stays a rate. `shown` (n,) forgets nothing.
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
            slot, weight = open_slot(epochs[row], sums[row], at[s], fading)
            sums[row, slot, int(is_click)] += weight * (reward[o] if is_click else 1.0)
            shown[row] += not is_click
            if not mark[row]:
                mark[row] = True
                touched[n_touched] = row
                n_touched += 1
    for i in range(n_touched):
        mark[touched[i]] = False
    return touched[:n_touched]
