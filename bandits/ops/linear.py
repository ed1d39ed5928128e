"""Exact LinUCB: inverse covariances by rank-one updates, kept packed.

An arm's symmetric inverse A^-1 (d, d) is kept as its upper triangle, row by row, P = d (d + 1) / 2 numbers.
With `outer` the packed x x^T whose off-diagonal entries are doubled, x^T A^-1 x is one dot product.
"""

from __future__ import annotations

import math

import numpy as np

from bandits.ops.arrays import Bool, Float32, Float64, Int8, Int32
from bandits.ops.choice import choose
from bandits.ops.lanes import dot
from stream.kernel import kernel
from stream.ops.kinds import CLICK, SHOWN

__all__ = ["absorb_linear", "linear_choice", "linear_scores", "packed_identity", "sherman_morrison"]


@kernel
def packed_identity(dim: int, scale: float) -> Float64:
    """`scale` times the identity, packed (P,)."""
    out = np.zeros(dim * (dim + 1) // 2)
    at = 0
    for i in range(dim):
        out[at] = scale
        at += dim - i
    return out


@kernel
def _times(inverse: Float64, x: Float64, out: Float64) -> None:
    """out = A^-1 x for a packed inverse."""
    out[:] = 0.0
    at = 0
    for i in range(x.size):
        out[i] += inverse[at] * x[i]
        at += 1
        for j in range(i + 1, x.size):
            out[i] += inverse[at] * x[j]
            out[j] += inverse[at] * x[i]
            at += 1


@kernel
def sherman_morrison(inverse: Float64, x: Float64, scratch: Float64) -> None:
    """(A + x x^T)^-1 = A^-1 - (A^-1 x)(A^-1 x)^T / (1 + x^T A^-1 x), in place on the packed inverse (P,)."""
    _times(inverse, x, scratch)
    bottom = 1.0
    for i in range(x.size):
        bottom += x[i] * scratch[i]
    at = 0
    for i in range(x.size):
        for j in range(i, x.size):
            inverse[at] -= scratch[i] * scratch[j] / bottom
            at += 1


@kernel
def linear_scores(
    rows: Int32,
    x: Float32 | Float64,
    arm_of: Int32,
    inverses: Float64,
    thetas: Float64,
    alpha: float,
    scores: Float64,
    widths: Float64,
) -> None:
    """theta . x + alpha sqrt(x^T A^-1 x) for the arm of each row (n,), and the second term as its width.

    A row without an arm scores like arm 0, which never learns; a row below 0 is no item.
    """
    dim = x.size
    wide, outer = np.empty(dim), np.empty(dim * (dim + 1) // 2)
    at = 0
    for i in range(dim):
        wide[i] = x[i]
    for i in range(dim):
        outer[at] = wide[i] * wide[i]
        at += 1
        for j in range(i + 1, dim):
            outer[at] = wide[i] * wide[j] * 2.0
            at += 1
    for n in range(rows.size):
        row = rows[n]
        if row < 0:
            scores[n], widths[n] = -np.inf, 0.0
            continue
        arm = max(arm_of[row], 0) if row < arm_of.size else 0
        widths[n] = alpha * math.sqrt(max(0.0, dot(inverses[arm], outer)))
        scores[n] = dot(thetas[arm], wide) + widths[n]


@kernel
def linear_choice(
    rows: Int32,
    x: Float32 | Float64,
    arm_of: Int32,
    inverses: Float64,
    thetas: Float64,
    alpha: float,
    top: int,
    temperature: float,
    spread: float,
    u: float,
) -> tuple[int, int, float, float]:
    """`linear_scores` and one draw in a single call: (row, place, probability, score); place -1 for none."""
    scores, widths = np.empty(rows.size), np.empty(rows.size)
    linear_scores(rows, x, arm_of, inverses, thetas, alpha, scores, widths)
    place, probability = choose(scores, widths, top, temperature, spread, 0.0, u)
    if place < 0:
        return -1, -1, 0.0, 0.0
    return rows[place], place, probability, scores[place]


@kernel
def absorb_linear(
    kind: Int8,
    slate: Int32,
    place: Int32,
    reward: Float64,
    start: Int32,
    items: Int32,
    decided: Bool,
    clusters: Int32,
    weights: Float32,
    features: Float32,
    arm_of: Int32,
    inverses: Float64,
    sums: Float64,
    thetas: Float64,
    touched: Bool,
) -> None:
    """Learn a block in order: A += x x^T an impression, b += reward x a reward; theta = A^-1 b of touched
    arms.

    x is the request's `features` (S, d); where these have no columns, the dense vector of the slate's cluster
    weights. `touched` (n_arms,) is set for arms that learned.
    """
    dim = sums.shape[1]
    x, scratch = np.empty(dim), np.empty(dim)
    for o in range(kind.size):
        s = slate[o]
        is_click = kind[o] == CLICK
        if not (is_click or kind[o] == SHOWN) or s < 0 or not decided[s]:
            continue
        low = place[o] if is_click else start[s]
        high = low + 1 if is_click else start[s + 1]
        for n in range(low, high):
            row = items[n]
            if row < 0 or row >= arm_of.size or arm_of[row] < 0:
                continue
            if features.shape[1] > 0:
                x[:] = features[s]
            else:
                x[:] = 0.0
                for k in range(clusters.shape[1]):
                    if 0 <= clusters[s, k] < dim:
                        x[clusters[s, k]] += weights[s, k]
            if not np.isfinite(x).all():
                continue
            arm = arm_of[row]
            touched[arm] = True
            if is_click:
                sums[arm] += reward[o] * x
            else:
                sherman_morrison(inverses[arm], x, scratch)
    for arm in np.flatnonzero(touched):
        _times(inverses[arm], sums[arm], thetas[arm])
