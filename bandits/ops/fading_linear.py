"""LinUCB's sums in slots that forget: (arms, parts, P + d), the packed sum of x x^T and then the sum of r x.

`bandits.ops.linear` says what the sums are and how they give scores, `bandits.ops.forgetting` what slots are.
"""

from __future__ import annotations

import numpy as np

from bandits.ops.arrays import Bool, Float64, Int8, Int32, Int64
from bandits.ops.forgetting import open_slot, worth
from bandits.ops.linear import is_finite
from stream.kernel import kernel
from stream.ops.kinds import CLICK

__all__ = ["absorb_fading_arms", "absorb_fading_outer", "fade_arms"]


@kernel
def _count(x: Float64, moments: Float64, most: float) -> None:
    """Number, sum and sum of squares (1 + 2 d,), over the first `most`."""
    if moments[0] < most:
        moments[0] += 1.0
        for i in range(x.size):
            moments[1 + i] += x[i]
            moments[1 + x.size + i] += x[i] * x[i]


@kernel
def _add(z: Float64, is_click: bool, reward: float, weight: float, sums: Float64) -> None:
    """weight z z^T for an impression, or weight reward z for a reward, into the sums (P + d,) of a slot."""
    d = z.size
    if is_click:
        at = d * (d + 1) // 2
        for i in range(d):
            sums[at + i] += weight * reward * z[i]
        return
    at = 0
    for i in range(d):
        if z[i] != 0.0:  # words leave most features at 0
            for j in range(i, d):
                sums[at + j - i] += weight * z[i] * z[j]
        at += d - i


@kernel
def absorb_fading_arms(
    kind: Int8,
    slate: Int32,
    place: Int32,
    reward: Float64,
    start: Int32,
    items: Int32,
    decided: Bool,
    x: Float64,
    at: Int64,
    fading: float,
    arm_of: Int32,
    epochs: Int64,
    sums: Float64,
    other_epochs: Int64,
    other_sums: Float64,
    shown: Int64,
    moments: Float64,
    most: float,
    touched: Bool,
) -> None:
    """As `bandits.ops.linear.absorb_arms`, into slots; `at` (S,) is the epoch of each slate.

    `epochs` (arms, parts) and `sums` (arms, parts, P + d); those of arm 0, which owners of a share of the
    items add up, stand apart. Moments forget nothing: a scale is no belief.
    """
    for o in range(kind.size):
        s = slate[o]
        is_click = kind[o] == CLICK
        if kind[o] > CLICK or s < 0 or not decided[s] or not is_finite(x[s]):
            continue
        low = place[o] if is_click else start[s]
        high = low + 1 if is_click else start[s + 1]
        for n in range(low, high):
            row = items[n]
            if row < 0:
                continue
            arm = max(arm_of[row], 0) if row < arm_of.size else 0
            touched[arm] = True
            if arm == 0:
                slot, weight = open_slot(other_epochs, other_sums, at[s], fading)
                own = other_sums[slot]
            else:
                slot, weight = open_slot(epochs[arm], sums[arm], at[s], fading)
                own = sums[arm, slot]
            if weight > 0.0:
                _add(x[s], is_click, reward[o], weight, own)
            if not is_click:
                shown[arm] += 1
                _count(x[s], moments, most)


@kernel
def absorb_fading_outer(
    kind: Int8,
    slate: Int32,
    place: Int32,
    reward: Float64,
    start: Int32,
    items: Int32,
    decided: Bool,
    x: Float64,
    of_items: Float64,
    at: Int64,
    fading: float,
    epochs: Int64,
    sums: Float64,
    shown: Int64,
    moments: Float64,
    item_moments: Float64,
    most: float,
    touched: Bool,
) -> None:
    """As `bandits.ops.outer.absorb_outer`, into slots; `at` (S,) is the epoch of each slate.

    `epochs` (parts,) and `sums` (parts, P + R I). `touched` (N,) is set for places that taught something.
    """
    n_x, n_a = x.shape[1], of_items.shape[1]
    z = np.empty(n_x * n_a)
    for o in range(kind.size):
        s = slate[o]
        is_click = kind[o] == CLICK
        if kind[o] > CLICK or s < 0 or not decided[s] or not is_finite(x[s]):
            continue
        low = place[o] if is_click else start[s]
        high = low + 1 if is_click else start[s + 1]
        for n in range(low, high):
            if items[n] < 0:
                continue
            touched[n] = True
            for k in range(n_a):
                for r in range(n_x):
                    z[k * n_x + r] = of_items[n, k] * x[s, r]
            slot, weight = open_slot(epochs, sums, at[s], fading)
            if weight > 0.0:
                _add(z, is_click, reward[o], weight, sums[slot])
            if not is_click:
                shown[0] += 1
                _count(x[s], moments, most)
                _count(of_items[n], item_moments, most)


@kernel
def fade_arms(
    rows: Int32, arm_of: Int32, is_stale: Bool, epochs: Int64, sums: Float64, now: int, fading: float,
    a: Float64, b: Float64,
) -> None:  # fmt: skip
    """What the sums of each stale arm of `rows` (n,) are worth now: into `a` (arms, P) and `b` (arms, d).

    Arm 0 is none of them: its sums stand apart.
    """
    packed, d = a.shape[1], b.shape[1]
    for n in range(rows.size):
        arm = arm_of[rows[n]] if 0 <= rows[n] < arm_of.size else 0
        if arm <= 0 or not is_stale[arm]:
            continue
        a[arm, :], b[arm, :] = 0.0, 0.0
        for p in range(epochs.shape[1]):
            left = worth(now - epochs[arm, p], epochs.shape[1], fading)
            if left > 0.0:
                for i in range(packed):
                    a[arm, i] += left * sums[arm, p, i]
                for i in range(d):
                    b[arm, i] += left * sums[arm, p, packed + i]
