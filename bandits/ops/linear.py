"""Exact LinUCB: sums of x x^T and of r x, factored when they are asked.

A symmetric matrix (d, d) is kept as its upper triangle, row by row, P = d (d + 1) / 2 numbers. Where the
off-diagonal entries of A^-1 are doubled, z^T A^-1 z is one dot product with the packed z z^T.

Sums are over x as it came. Scores are over z = M x, where M takes a mean from each feature and divides by a
scale: z_i = (x_i - mean_i x_0) / scale_i, with x_0 the constant 1, mean_0 = 0 and scale_0 = 1. As M is
linear, sum z z^T = M (sum x x^T) M^T: the sums need not know M, and may be added up in any order.
"""

from __future__ import annotations

import math

import numpy as np

from bandits.ops.arrays import Bool, Float32, Float64, Int8, Int32, Int64
from bandits.ops.choice import choose
from bandits.ops.lanes import add_scaled, dot, zeros_in_lanes
from stream.kernel import kernel
from stream.ops.kinds import CLICK, SHOWN

__all__ = [
    "absorb_arms",
    "factor_arms",
    "inverse_of",
    "is_finite",
    "linear_choice",
    "linear_scores",
    "standardised",
    "standardised_outer",
    "strangers_of",
]


@kernel
def standardised(packed: Float64, mean: Float64, scale: Float64, out: Float64) -> None:
    """The upper triangle of M A M^T into `out` (d, d), for a packed A (P,)."""
    # First row: A_0j, from which the others take their means. mean_0 = 0 leaves it as it is.
    d, at = mean.size, mean.size
    count = packed[0]
    for j in range(d):
        out[0, j] = (packed[j] - mean[j] * count) / scale[j]
    for i in range(1, d):
        for j in range(i, d):
            centred = packed[at] - mean[i] * packed[j] - mean[j] * packed[i] + mean[i] * mean[j] * count
            out[i, j] = centred / (scale[i] * scale[j])
            at += 1


@kernel
def inverse_of(
    matrix: Float64, l2: float, b: Float64, scratch: Float64, inverse: Float64, theta: Float64
) -> None:
    """The packed inverse (P,) of l2 I + S, and theta (d,) = inverse b; `matrix` holds S and is used up.

    `matrix` and `scratch` are (d, D) and `b` (D,) with D = `in_lanes(d)`; only the upper triangle of S is
    read, and `b` is 0 from d on.

    By S + l2 I = L D L^T, with D diagonal and L 1 on its own. In exact arithmetic no pivot of it is below
    l2, whatever rank S has, so one that rounding took below is set to l2: a singular S needs nothing else.
    Inner loops add a multiple of one row to another in whole blocks of 8; what they write outside the
    triangle nobody reads.
    """
    d, n_blocks = theta.size, b.size // 8
    pivots = np.empty(d)  # one over each: a division takes as long as eight products
    for k in range(d):
        matrix[k, :k], matrix[k, d:] = 0.0, 0.0
        matrix[k, k] += l2
    for k in range(d):
        row = matrix[k]
        pivots[k] = 1.0 / max(row[k], l2)
        for i in range(k + 1, d):
            add_scaled(matrix[i], -row[i] * pivots[k], row, i // 8, n_blocks)
    # Rows of the inverse of L, whose column k is row k of `matrix` over its pivot.
    for k in range(d):
        own = scratch[k]
        own[:] = 0.0
        for i in range(k):
            add_scaled(own, -matrix[i, k] * pivots[i], scratch[i], 0, i // 8 + 1)
        own[k] = 1.0
    matrix[:], theta[:] = 0.0, 0.0
    for k in range(d):
        own = scratch[k]
        y = dot(own, b) * pivots[k]
        for j in range(k + 1):
            theta[j] += y * own[j]
        for i in range(k + 1):
            add_scaled(matrix[i], own[i] * pivots[k], own, i // 8, k // 8 + 1)
    at = 0
    for i in range(d):
        for j in range(i, d):
            inverse[at + j - i] = matrix[i, j]
        at += d - i


@kernel
def factor_arms(
    rows: Int32,
    arm_of: Int32,
    sums: Float64,
    rewards: Float64,
    scaling: Float64,
    l2: float,
    is_stale: Bool,
    models: Float64,
) -> None:
    """Bring `models` (n_arms, W) up to date for the arms of `rows` (n,).

    A model is an arm's packed inverse (P,), off-diagonal entries doubled, and from the next multiple of 8 on
    its theta (d,), with zeros between. `scaling` (2, d): mean and scale.
    """
    mean, scale = scaling[0], scaling[1]
    d = mean.size
    packed = d * (d + 1) // 2
    at, width = -(-packed // 8) * 8, -(-d // 8) * 8
    matrix, scratch, b = np.empty((d, width)), np.empty((d, width)), np.zeros(width)
    for n in range(-1, rows.size):
        # Arm 0 stands for whoever has no arm of its own.
        arm = 0 if n < 0 else (arm_of[rows[n]] if 0 <= rows[n] < arm_of.size else 0)
        if arm < 0 or not is_stale[arm]:
            continue
        standardised(sums[arm], mean, scale, matrix)
        for i in range(d):
            b[i] = (rewards[arm, i] - mean[i] * rewards[arm, 0]) / scale[i]
        inverse = models[arm, :packed]
        inverse_of(matrix, l2, b, scratch, inverse, models[arm, at : at + d])
        diagonal = 0
        for i in range(d):
            for j in range(diagonal + 1, diagonal + d - i):
                inverse[j] *= 2.0
            diagonal += d - i
        is_stale[arm] = False


@kernel
def standardised_outer(
    x: Float32 | Float64, mean: Float64, scale: Float64, z: Float64, outer: Float64
) -> None:
    """z = M x (d,), and the packed z z^T (P,); what is longer keeps its end."""
    d, at = mean.size, 0
    for i in range(d):
        z[i] = (x[i] - mean[i] * x[0]) / scale[i]
    for i in range(d):
        factor, right = z[i], z[i:d]
        part = outer[at : at + right.size]
        for j in range(part.size):
            part[j] = factor * right[j]
        at += d - i


@kernel
def linear_scores(
    rows: Int32,
    x: Float32 | Float64,
    scaling: Float64,
    arm_of: Int32,
    models: Float64,
    alpha: float,
    scores: Float64,
    widths: Float64,
) -> None:
    """theta . z + alpha sqrt(z^T A^-1 z) for the arm of each row (n,), and the second term as its width.

    A row without an arm scores like arm 0; a row below 0 is no item. `models` as in `factor_arms`.
    """
    d = scaling.shape[1]
    at = -(-(d * (d + 1) // 2) // 8) * 8
    both = zeros_in_lanes(models.shape[1])
    outer, z = both[:at], both[at:]
    standardised_outer(x, scaling[0], scaling[1], z, outer)
    for n in range(rows.size):
        row = rows[n]
        if row < 0:
            scores[n], widths[n] = -np.inf, 0.0
            continue
        model = models[max(arm_of[row], 0) if row < arm_of.size else 0]
        widths[n] = alpha * math.sqrt(max(0.0, dot(model[:at], outer)))
        scores[n] = dot(model[at:], z) + widths[n]


@kernel
def linear_choice(
    rows: Int32,
    x: Float32 | Float64,
    scaling: Float64,
    arm_of: Int32,
    models: Float64,
    alpha: float,
    top: int,
    temperature: float,
    spread: float,
    u: float,
) -> tuple[int, int, float, float]:
    """`linear_scores` and one draw in a single call: (row, place, probability, score); place -1 for none."""
    scores, widths = np.empty(rows.size), np.empty(rows.size)
    linear_scores(rows, x, scaling, arm_of, models, alpha, scores, widths)
    place, probability = choose(scores, widths, top, temperature, spread, 0.0, u)
    if place < 0:
        return -1, -1, 0.0, 0.0
    return rows[place], place, probability, scores[place]


@kernel
def is_finite(x: Float64) -> bool:
    """Whether all entries are finite."""
    for value in x:  # noqa: SIM110 (a generator does not compile)
        if not np.isfinite(value):
            return False
    return True


@kernel
def strangers_of(
    kind: Int8, slate: Int32, place: Int32, start: Int32, items: Int32, decided: Bool, x: Float64,
    arm_of: Int32,
) -> Int32:  # fmt: skip
    """Rows without an arm that a block teaches something about, in the order in which it does.

    A row may come more than once. The order is that of operations, whatever block they stand in, since it
    settles who gets the last arms.
    """
    found, n = np.empty(items.size, np.int32), 0
    is_done = np.zeros(start.size, np.bool_)
    for o in range(kind.size):
        s = slate[o]
        if kind[o] > CLICK or s < 0 or not decided[s] or is_done[s] or not is_finite(x[s]):
            continue
        low = place[o] if kind[o] == CLICK else start[s]
        high = low + 1 if kind[o] == CLICK else start[s + 1]
        is_done[s] = kind[o] == SHOWN
        for row in items[low:high]:
            if row >= 0 and (row >= arm_of.size or arm_of[row] < 0):
                if n == found.size:
                    found = np.append(found, found)
                found[n] = row
                n += 1
    return found[:n]


@kernel
def absorb_arms(
    kind: Int8,
    slate: Int32,
    place: Int32,
    reward: Float64,
    start: Int32,
    items: Int32,
    decided: Bool,
    x: Float64,
    arm_of: Int32,
    sums: Float64,
    rewards: Float64,
    shown: Int64,
    moments: Float64,
    most: float,
    touched: Bool,
) -> None:
    """Learn a block in order: A += x x^T an impression, b += reward x a reward.

    `x` (S, d) of each slate. `moments` (1 + 2 d,): number of impressions, sum of x, sum of x^2, over the
    first `most` of them. `touched` (n_arms,) is set for arms that learned.
    """
    d = x.shape[1]
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
            if is_click:
                for i in range(d):
                    rewards[arm, i] += reward[o] * x[s, i]
                continue
            shown[arm] += 1
            is_counted = moments[0] < most
            moments[0] += is_counted
            at = 0
            for i in range(d):
                value = x[s, i]
                if is_counted:
                    moments[1 + i] += value
                    moments[1 + d + i] += value * value
                if value != 0.0:  # words leave most features at 0
                    for j in range(i, d):
                        sums[arm, at + j - i] += value * x[s, j]
                at += d - i
