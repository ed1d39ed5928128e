"""Choosing by predicted losses in 0..1: the chance of each is inverse to how much worse it is than the best.

With K candidates, losses y and b the best of them, everybody else gets

    SquareCB (Foster and Rakhlin, ICML 2020)       p_a = 1   / (K     + gamma (y_a - y_b))
    FastCB (Foster and Krishnamurthy, NeurIPS 2021) p_a = y_b / (K y_b + gamma (y_a - y_b))

and b gets the rest. Candidates that tie with b share what they get with it equally, as if b were one of them
drawn at random, so that nothing depends on the order of candidates. gamma = 0 is uniform, gamma = inf takes
the best. A loss below 0 marks a candidate that is gone.
"""

from __future__ import annotations

import math

import numpy as np

from bandits.ops.arrays import Float64
from stream.kernel import kernel

__all__ = [
    "Gap",
    "choose_by_gap",
    "draw_by_gap",
    "gap_probabilities",
    "gap_share",
    "safe_losses",
    "survey_gaps",
]

Gap = tuple[int, float, float]
"""(alive, best, share of the best): what `gap_share` needs to know of all losses."""


@kernel
def safe_losses(losses: Float64) -> Float64:
    """A copy (n,) within 0..1; what is no number counts as 1, the worst."""
    out = np.empty(losses.size)
    for i in range(losses.size):
        y = losses[i]
        # Two comparisons that NaN fails, so that it ends as the worst.
        out[i] = 0.0 if y < 0.0 else y if y < 1.0 else 1.0
    return out


@kernel
def _worse(y: float, best: float, alive: int, gamma: float, fast: bool) -> float:
    """Probability of a candidate with loss y > best."""
    scaled = gamma * (y - best)
    if scaled == 0.0:  # also where FastCB's best is 0, and its quotient 0 / 0
        return 1.0 / alive
    if math.isinf(scaled):
        return 0.0
    p = best / (alive * best + scaled) if fast else 1.0 / (alive + scaled)
    return min(p, 1.0 / alive)


@kernel
def survey_gaps(losses: Float64, gamma: float, fast: bool) -> Gap:
    """Look at all losses: how many candidates are left, the best loss, and what each that has it gets."""
    alive, best = 0, np.inf
    for y in losses:
        if y >= 0.0:
            alive += 1
            best = min(best, y)
    if alive == 0:
        return 0, 0.0, 0.0
    ties, others = 0, 0.0
    for y in losses:
        if y == best:
            ties += 1
        elif y > best:
            others += _worse(y, best, alive, gamma, fast)
    return alive, best, max((1.0 - others) / ties, 1.0 / alive)


@kernel
def gap_share(y: float, seen: Gap, gamma: float, fast: bool) -> float:
    """Probability of one candidate with this loss, given the survey of all."""
    alive, best, of_best = seen
    if y < 0.0 or alive == 0:
        return 0.0
    return of_best if y == best else _worse(y, best, alive, gamma, fast)


@kernel
def draw_by_gap(losses: Float64, seen: Gap, gamma: float, fast: bool, u: float) -> int:
    """Index drawn with `gap_share`'s probabilities by a uniform number; -1 without a candidate."""
    left, chosen = u, -1
    for i in range(losses.size):
        p = gap_share(losses[i], seen, gamma, fast)
        if p > 0.0:
            chosen = i
            left -= p
            if left < 0.0:
                break
    return chosen


@kernel
def choose_by_gap(losses: Float64, gamma: float, fast: bool, u: float) -> tuple[int, float]:
    """Index drawn by a uniform number, and its probability; (-1, 0) without a candidate."""
    y = safe_losses(losses)
    seen = survey_gaps(y, gamma, fast)
    index = draw_by_gap(y, seen, gamma, fast, u)
    return (index, gap_share(y[index], seen, gamma, fast)) if index >= 0 else (-1, 0.0)


@kernel
def gap_probabilities(losses: Float64, gamma: float, fast: bool) -> Float64:
    """Probabilities (n,) of all candidates; they sum to 1.

    Example:
        >>> y = np.array([0.2, 0.7, 0.7])
        >>> gap_probabilities(y, 4.0, False).round(3).tolist()
        [0.6, 0.2, 0.2]
        >>> gap_probabilities(y, 4.0, True).round(3).tolist()
        [0.846, 0.077, 0.077]
    """
    y = safe_losses(losses)
    seen = survey_gaps(y, gamma, fast)
    out = np.empty(y.size)
    for i in range(y.size):
        out[i] = gap_share(y[i], seen, gamma, fast)
    return out
