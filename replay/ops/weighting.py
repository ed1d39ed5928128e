"""Weights of logged rounds and what the estimators make of them.

A *round* is one slate, S of them, with N places in all: slate s has the places ``start[s]:start[s + 1]``. A
decision of one item is a slate of one place.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = [
    "LARGEST",
    "beta_ips_rounds",
    "effective_size",
    "ips_rounds",
    "place_numbers",
    "place_weights",
    "round_weights",
    "snips_rounds",
]

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

LARGEST = 1e100
"""Weights are cut here: no sum of squares overflows, and a log that needs this is called out anyway."""
_EQUAL = 1e-6  # weights whose standard deviation is below it are equal


def place_numbers(start: Int64) -> Int64:
    """Place of each entry within its slate (N,), from 0; `start` is (S + 1,).

    Example:
        >>> place_numbers(np.array([0, 2, 5])).tolist()
        [0, 1, 0, 1, 2]
    """
    return np.arange(start[-1], dtype=np.int64) - np.repeat(start[:-1], np.diff(start))


def place_weights(target: Float64, logged: Float64, start: Int64) -> Float64:
    """Weight of each place (N,): the product of target / logged over it and the places above it.

    w_sj = prod over l <= j of q_sl / p_sl. `target` and `logged` (N,) are propensities of the logged item at
    its place given the items above; `logged` is above 0. Weights end at 1e100.

    Example:
        >>> place_weights(np.array([0.5, 0.1, 0.2]), np.array([0.25, 0.2, 0.1]), np.array([0, 2, 3])).tolist()
        [2.0, 1.0, 2.0]
    """
    with np.errstate(over="ignore"):
        ratios = np.minimum(target / logged, LARGEST)
    place = place_numbers(start)
    out = ratios.copy()
    # One pass a place: slates are short and many, so this is a few products of long arrays.
    for j in range(1, int(place.max(initial=0)) + 1):
        at = np.flatnonzero(place == j)
        out[at] = np.minimum(out[at - 1] * ratios[at], LARGEST)
    return out


def round_weights(weights: Float64, start: Int64) -> Float64:
    """Weight of each round (S,): that of its last place, the most variable one; slates are not empty."""
    return weights[start[1:] - 1]


def ips_rounds(weights: Float64, rewards: Float64, start: Int64) -> Float64:
    """Inverse propensity score of each round (S,); the mean is the estimate.

    V = 1/S sum_s sum_j w_sj r_sj. One place: Horvitz and Thompson 1952; Dudík, Langford, Li 2011, Eq. 2.
    Slates: the reward at a place is weighted by the places up to it, which is unbiased when a place does not
    depend on those below it (per-decision weights, Precup, Sutton, Singh 2000; McInerney et al. 2020 for
    slates).

    Example:
        >>> ips_rounds(np.array([2.0, 1.0, 2.0]), np.array([0.0, 1.0, 1.0]), np.array([0, 2, 3])).tolist()
        [1.0, 2.0]
    """
    return np.add.reduceat(weights * rewards, start[:-1]) if start.size > 1 else np.zeros(0)


def snips_rounds(weights: Float64, rewards: Float64, start: Int64) -> Float64:
    """Self-normalised score of each round (S,), apart from the mean; the mean is the estimate.

    V = sum_j n_j/S V_j with V_j = sum_s w_sj r_sj / sum_s w_sj over the n_j slates that have a place j
    (Swaminathan and Joachims 2015, Eq. 7, at each place). The rounds are linearised,
    psi_s = sum_j (V_j + w_sj (r_sj - V_j) / mean_s w_sj), so that their spread is that of the ratio (delta
    method). A place whose weights are all zero contributes nothing.

    Example:
        >>> rounds = snips_rounds(np.array([1.0, 3.0]), np.array([0.0, 1.0]), np.array([0, 1, 2]))
        >>> float(rounds.mean()), rounds.tolist()
        (0.75, [0.375, 1.125])
    """
    if start.size <= 1:
        return np.zeros(0)
    place = place_numbers(start)
    n_at = np.bincount(place).astype(np.float64)
    total = np.bincount(place, weights)
    known = total > 0
    value = np.divide(np.bincount(place, weights * rewards), total, out=np.zeros_like(total), where=known)
    scale = np.divide(n_at, total, out=np.zeros_like(total), where=known)
    psi = value[place] + weights * (rewards - value[place]) * scale[place]
    return np.add.reduceat(psi, start[:-1])


def beta_ips_rounds(weights: Float64, rewards: Float64, start: Int64) -> Float64:
    """Inverse propensity score of each round (S,) with the baseline of least variance; the mean is the
    estimate.

    psi_s = sum_j (w_sj r_sj - beta_j (w_sj - 1)) with beta_j = Cov_s(w_sj r_sj, w_sj) / Var_s(w_sj) over the
    slates that have a place j: in expectation E[(w^2 - w) r] / E[w^2 - w] (Gupta et al. 2024, at each place),
    and in a sample it divides by no number below 0. Where weights differ by rounding alone there is nothing
    to correct: beta_j = 0.

    Example:
        >>> rounds = beta_ips_rounds(np.array([2.0, 0.5]), np.array([0.7, 0.7]), np.array([0, 1, 2]))
        >>> rounds.round(9).tolist()  # equal rewards leave no spread
        [0.7, 0.7]
    """
    if start.size <= 1:
        return np.zeros(0)
    place, scores = place_numbers(start), weights * rewards
    n_at = np.bincount(place)
    apart = weights - (np.bincount(place, weights) / n_at)[place]
    spread = np.bincount(place, apart**2)
    known = spread > _EQUAL**2 * n_at
    beta = np.divide(np.bincount(place, apart * scores), spread, out=np.zeros_like(spread), where=known)
    return np.add.reduceat(scores - beta[place] * (weights - 1.0), start[:-1])


def effective_size(weights: Float64) -> float:
    """How many equally weighted rounds say as much: (sum w)^2 / sum w^2 (Kish 1965); 0 without weight.

    Example:
        >>> effective_size(np.ones(7)), effective_size(np.array([5.0, 0.0, 0.0]))
        (7.0, 1.0)
    """
    largest = float(weights.max(initial=0.0))
    if largest <= 0.0:
        return 0.0
    scaled = weights / largest  # squares of large products must not overflow
    return float(scaled.sum() ** 2 / (scaled**2).sum())
