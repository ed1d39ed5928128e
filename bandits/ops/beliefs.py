"""How likely each of many Beta beliefs is to be the largest: Thompson sampling's probabilities, without
draws.

For independent X_i ~ Beta(a_i, b_i) with distribution functions F_i the probability that i is the best is

    pi_i = integral of f_i(x) prod over j != i of F_j(x) dx

(Russo et al., "A Tutorial on Thompson Sampling", 2018, section 3). The unit interval is cut into bins, the
same for all arms; with D_i(t) the mass of arm i in bin t, M_i(t) the mean of F_i at its two ends and H(t)
the product of all M_j(t), the integral becomes sum over t of H(t) D_i(t) / M_i(t), divided by what that sums
to over all arms. To take an arm away is to divide H by its M, so a slate costs little more than one choice.
Whoever draws from these numbers draws with exactly these probabilities; from the integral, 64 bins are off
by some 0.0005, and by 0.02 where thirty arms know to 0.0002 what they are worth and one knows nothing.
"""

from __future__ import annotations

import math

import numpy as np

from bandits.ops.arrays import Bool, Float64
from stream.kernel import kernel

__all__ = ["belief_table", "best_probabilities", "beta_cdf", "draw_best", "share_of_best", "take_away"]

_LEAST = 6.0  # where the approximation below is good to 1e-5
_FLOOR = 1e-12


@kernel
def _g(x: float) -> float:
    """(1 - x^2 + 2 x log x) / (1 - x)^2, and its series near 1."""
    e = x - 1.0
    if abs(e) < 0.02:
        return -e / 3.0 * (1.0 - e * (0.5 - e * (0.3 - 0.2 * e)))
    return (1.0 - x * x + 2.0 * x * math.log(x)) / (e * e)


@kernel
def _normal_cdf(a: float, b: float, x: float) -> float:
    """Distribution function of Beta(a, b) by a normal variable (Peizer and Pratt, JASA 1968)."""
    n, s, t, y = a + b - 1.0, a - 0.5, b - 0.5, 1.0 - x
    d = s + 1.0 / 6.0 - (n + 1.0 / 3.0) * x + 0.02 * (y / (s + 0.5) - x / (t + 0.5) + (y - 0.5) / (n + 1.0))
    z = d * math.sqrt((1.0 + y * _g(s / (n * x)) + x * _g(t / (n * y))) / ((n + 1.0 / 6.0) * x * y))
    return 0.5 * math.erfc(z * 0.7071067811865476)


@kernel
def beta_cdf(a: float, b: float, log_beta: float, x: float) -> float:
    """P(X <= x) for X ~ Beta(a, b) with a, b >= 1 and log B(a, b), to about 1e-5.

    Small parameters are raised by I_x(a, b) = I_x(a + 1, b) + x^a y^b / (a B(a, b)), with y = 1 - x, and
    I_x(a, b) = I_x(a, b + 1) - x^a y^b / (b B(a, b)).

    Example:
        >>> [round(beta_cdf(1.0, 1.0, 0.0, x), 3) for x in (0.0, 0.25, 1.0)]
        [0.0, 0.25, 1.0]
    """
    if x <= 0.0 or x >= 1.0:
        return 0.0 if x <= 0.0 else 1.0
    if a >= _LEAST and b >= _LEAST:
        return _normal_cdf(a, b, x)
    y, total = 1.0 - x, 0.0
    term = math.exp(a * math.log(x) + b * math.log(y) - log_beta) / a
    while a < _LEAST:
        total += term
        term *= x * (a + b) / (a + 1.0)
        a += 1.0
    term *= a / b
    while b < _LEAST:
        total -= term
        term *= y * (a + b) / (b + 1.0)
        b += 1.0
    return min(max(total + _normal_cdf(a, b, x), 0.0), 1.0)


@kernel
def _deviation(a: float, b: float) -> float:
    """Standard deviation of Beta(a, b)."""
    n = a + b
    return math.sqrt(a * b / (n + 1.0)) / n


@kernel
def _reach(a: float, b: float) -> float:
    """What Beta(a, b) practically never exceeds."""
    return a / (a + b) + 12.0 * _deviation(a, b)


@kernel
def _edges(a: Float64, b: Float64, n_bins: int) -> Float64:
    """Ends of the bins (n_bins + 1,), denser towards `low`.

    An arm's mean less six deviations is nowhere above `low`, so one that lies d above it has a deviation of
    at least d / 6: bins may widen in proportion to d and still resolve every arm.
    """
    low, high, step = 0.0, 0.0, 1.0
    for i in range(a.size):
        low = max(low, a[i] / (a[i] + b[i]) - 6.0 * _deviation(a[i], b[i]))
        high = max(high, _reach(a[i], b[i]))
    for i in range(a.size):
        if _reach(a[i], b[i]) > low:
            step = min(step, 0.25 * _deviation(a[i], b[i]))
    span, inner = min(high, 1.0) - low, n_bins - 2
    ratio = 1.0
    if step * inner < span:
        least, most = 1.0, 2.0
        for _ in range(50):
            ratio = 0.5 * (least + most)
            if step * (ratio**inner - 1.0) / (ratio - 1.0) < span:
                least = ratio
            else:
                most = ratio
    edges = np.empty(n_bins + 1)
    edges[0], edges[1], edges[n_bins] = 0.0, low, 1.0
    width = span / inner if ratio == 1.0 else span * (ratio - 1.0) / (ratio**inner - 1.0)
    for t in range(2, n_bins):
        edges[t] = min(edges[t - 1] + width, 1.0)
        width *= ratio
    return edges


@kernel
def belief_table(a: Float64, b: Float64, n_bins: int) -> tuple[Float64, Float64]:
    """D / M and log M of every arm in every bin, (n, n_bins) each, for Beta(a, b) (n,)."""
    edges = _edges(a, b, n_bins)
    rates, logs = np.empty((a.size, n_bins)), np.empty((a.size, n_bins))
    order = np.argsort(a + 1e-9 * b)
    before = -1
    for i in order:
        if before >= 0 and a[i] == a[before] and b[i] == b[before]:  # arms that know as little cost nothing
            rates[i], logs[i] = rates[before], logs[before]
            continue
        if _reach(a[i], b[i]) < edges[1]:
            rates[i], logs[i] = 0.0, 0.0
            rates[i, 0], logs[i, 0] = 2.0, math.log(0.5)
            continue
        log_beta = math.lgamma(a[i]) + math.lgamma(b[i]) - math.lgamma(a[i] + b[i])
        below = 0.0
        for t in range(n_bins):
            above = max(below, beta_cdf(a[i], b[i], log_beta, edges[t + 1]))
            middle = max(0.5 * (below + above), _FLOOR)
            rates[i, t], logs[i, t] = (above - below) / middle, math.log(middle)
            below = above
        before = i
    return rates, logs


@kernel
def _weights(totals: Float64, products: Float64, out: Float64) -> float:
    """H(t) times the sum of D / M over all arms, (n_bins,), up to a common factor; returns their sum."""
    highest, total = -np.inf, 0.0
    for t in range(totals.size):
        if totals[t] > 0.0:
            highest = max(highest, products[t])
    for t in range(totals.size):
        out[t] = math.exp(products[t] - highest) * totals[t] if totals[t] > 0.0 else 0.0
        total += out[t]
    return total


@kernel
def share_of_best(rates: Float64, totals: Float64, products: Float64, scratch: Float64, i: int) -> float:
    """The probability that arm `i` is the best of those that `totals` and `products` (n_bins,) sum up."""
    total, share = _weights(totals, products, scratch), 0.0
    for t in range(totals.size):
        if scratch[t] > 0.0:
            share += scratch[t] * (rates[i, t] / totals[t])
    return share / total


@kernel
def draw_best(
    rates: Float64, totals: Float64, products: Float64, alive: Bool, scratch: Float64, u: float
) -> int:
    """An arm drawn by a uniform number with the probabilities of `share_of_best`."""
    left = u * _weights(totals, products, scratch)
    chosen = -1
    for t in range(totals.size):
        if scratch[t] <= 0.0:
            continue
        if left >= scratch[t]:
            left -= scratch[t]
            continue
        left *= totals[t] / scratch[t]
        for i in range(alive.size):
            if alive[i] and rates[i, t] > 0.0:
                chosen = i
                left -= rates[i, t]
                if left < 0.0:
                    return chosen
        left = 0.0
    if chosen < 0:
        for i in range(alive.size):
            if alive[i]:
                return i
    return chosen


@kernel
def take_away(rates: Float64, logs: Float64, alive: Bool, totals: Float64, products: Float64, i: int) -> None:
    """Take arm `i`, which is alive, out of the sums."""
    alive[i] = False
    for t in range(totals.size):
        left = totals[t] - rates[i, t]
        if left < 1e-3 * totals[t]:  # too little is left to trust a difference
            left = 0.0
            for j in range(alive.size):
                if alive[j]:
                    left += rates[j, t]
        totals[t] = left
        products[t] -= logs[i, t]


@kernel
def best_probabilities(a: Float64, b: Float64, n_bins: int) -> Float64:
    """The probability (n,) of each of n arms with beliefs Beta(a, b) to be the best; they sum to 1.

    Example:
        >>> best_probabilities(np.array([2.0, 1.0]), np.ones(2), 64).round(2).tolist()
        [0.67, 0.33]
    """
    rates, logs = belief_table(a, b, n_bins)
    totals, products, scratch = rates.sum(axis=0), logs.sum(axis=0), np.empty(n_bins)
    total = _weights(totals, products, scratch)
    out = np.zeros(a.size)
    for i in range(a.size):
        for t in range(n_bins):
            if scratch[t] > 0.0:
                out[i] += scratch[t] * (rates[i, t] / totals[t])
        out[i] /= total
    return out
