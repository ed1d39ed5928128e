"""One linear model over request x item: x (R,) of the request, a (I,) of the item, outer(a, x) (I R,).

Entry (k, r) of the outer product, a_k x_r, stands at k R + r. Its sums are packed as in `bandits.ops.linear`,
over x and a as they came; scores are over M x and N a, and (N (x) M) A (N (x) M)^T has the sums of those.
"""

from __future__ import annotations

import math

import numpy as np

from bandits.ops.arrays import Bool, Float64, Int8, Int32, Int64
from bandits.ops.linear import is_finite
from stream.kernel import kernel
from stream.ops.kinds import CLICK

__all__ = ["absorb_outer", "outer_scores", "rescaled_outer"]


@kernel
def _count(x: Float64, moments: Float64, most: float) -> None:
    """Count, sum and sum of squares of x (d,), unless there are enough."""
    if moments[0] < most:
        moments[0] += 1.0
        for i in range(x.size):
            moments[1 + i] += x[i]
            moments[1 + x.size + i] += x[i] * x[i]


@kernel
def absorb_outer(
    kind: Int8,
    slate: Int32,
    place: Int32,
    reward: Float64,
    start: Int32,
    items: Int32,
    decided: Bool,
    x: Float64,
    of_items: Float64,
    sums: Float64,
    rewards: Float64,
    shown: Int64,
    moments: Float64,
    item_moments: Float64,
    most: float,
    touched: Bool,
) -> None:
    """Learn a block in order: A += z z^T an impression, b += reward z a reward, z = outer(a, x).

    `x` (S, R) of each slate, `of_items` (N, I) of each place; `shown` (1,) counts impressions; `touched` (N,)
    is set for places that taught something.
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
            if is_click:
                for i in range(z.size):
                    rewards[i] += reward[o] * z[i]
                continue
            shown[0] += 1
            _count(x[s], moments, most)
            _count(of_items[n], item_moments, most)
            at = 0
            for i in range(z.size):
                if z[i] != 0.0:  # words leave most features at 0
                    for j in range(i, z.size):
                        sums[at + j - i] += z[i] * z[j]
                at += z.size - i


@kernel
def _centre(v: Float64, mean: Float64, scale: Float64, first: int, step: int) -> None:
    """v <- M v, in place, for the features at `first`, `first` + `step`, and so on."""
    for i in range(mean.size):
        at = first + i * step
        v[at] = (v[at] - mean[i] * v[first]) / scale[i]


@kernel
def _rescale_rows(v: Float64, mean: Float64, scale: Float64, item_mean: Float64, item_scale: Float64) -> None:
    """v <- (N (x) M) v of one vector (I R,), in place."""
    n_x, n_a = mean.size, item_mean.size
    for k in range(n_a):
        _centre(v, mean, scale, k * n_x, 1)
    for r in range(n_x):
        _centre(v, item_mean, item_scale, r, n_x)


@kernel
def rescaled_outer(
    sums: Float64,
    rewards: Float64,
    mean: Float64,
    scale: Float64,
    item_mean: Float64,
    item_scale: Float64,
    matrix: Float64,
    b: Float64,
) -> None:
    """(N (x) M) A (N (x) M)^T into `matrix` (d, d), and (N (x) M) b into `b` (d,)."""
    d, at = b.size, 0
    for i in range(d):
        for j in range(i, d):
            matrix[i, j] = sums[at]
            matrix[j, i] = sums[at]
            at += 1
    for i in range(d):
        _rescale_rows(matrix[i], mean, scale, item_mean, item_scale)
    column = np.empty(d)
    for j in range(d):
        column[:] = matrix[:, j]
        _rescale_rows(column, mean, scale, item_mean, item_scale)
        matrix[:, j] = column
    b[:] = rewards
    _rescale_rows(b, mean, scale, item_mean, item_scale)


@kernel
def outer_scores(
    rows: Int32,
    x: Float64,
    of_items: Float64,
    mean: Float64,
    scale: Float64,
    item_mean: Float64,
    item_scale: Float64,
    inverse: Float64,
    theta: Float64,
    alpha: float,
    scores: Float64,
    widths: Float64,
) -> None:
    """theta . z + alpha sqrt(z^T A^-1 z) of each candidate (n,), z = outer(N a, M x); the second term as its
    width.

    The request is the same for all candidates: A^-1 (packed) and theta are contracted with it once, and what
    is left, (I, I) and (I,), meets each candidate's a.
    """
    n_x, n_a = mean.size, item_mean.size
    wide, pair, per_item = np.empty(n_x), np.zeros((n_a, n_a)), np.zeros(n_a)
    for r in range(n_x):
        wide[r] = (x[r] - mean[r] * x[0]) / scale[r]
    at = 0
    for k in range(n_a):
        for r in range(n_x):
            per_item[k] += theta[k * n_x + r] * wide[r]
            # The triangle holds each pair once, so all but the diagonal count twice.
            pair[k, k] -= wide[r] * wide[r] * inverse[at]
            for m in range(k, n_a):
                total = 0.0
                for other in range(r if m == k else 0, n_x):
                    total += wide[other] * inverse[at]
                    at += 1
                pair[k, m] += 2.0 * wide[r] * total
    a = np.empty(n_a)
    for n in range(rows.size):
        if rows[n] < 0:
            scores[n], widths[n] = -np.inf, 0.0
            continue
        mean_reward, variance = 0.0, 0.0
        for k in range(n_a):
            a[k] = (of_items[n, k] - item_mean[k] * of_items[n, 0]) / item_scale[k]
            mean_reward += per_item[k] * a[k]
        for k in range(n_a):
            for m in range(k, n_a):
                variance += a[k] * pair[k, m] * a[m]
        widths[n] = alpha * math.sqrt(max(0.0, variance))
        scores[n] = mean_reward + widths[n]
