"""A mixture of whole orders of a list: what a click teaches each expert, and what their losses say of them.

An *expert* is a listwise softmax with weights of its own: two over all features, a steady and a quick one,
one over those that begin with a weight, and one over each feature alone. It scores a candidate by w . x,
where x (2 F,) has its features, 0 for what is missing, and behind them 1 for what is missing and 0 else. A
layer keeps a share v of each expert. What is served is the order of v @ W, one vector of weights: the log
loss is convex in the scores, so that order loses at most what the experts lose on average,

    -log softmax((v @ W) . x)_c <= sum over e of v_e loss_e,    loss_e = -log softmax(W_e . x)_c,

and the layer keeps the sum of the right side near that of the best expert, over any stretch of lists.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stream.kernel import kernel
from stream.ops.kinds import CLICK

__all__ = ["FORGET", "N_LINEAR", "learn_mixture", "shares_at_first"]

Bool = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]

N_LINEAR = 3
"""Experts over many features: all of them, one whose steps shrink for good and one that goes on moving; and
those whose starting weight is not 0, steadily."""

# The linear experts begin with more than half: before anything is known they stand for the starting weights.
# A single feature then needs 3 to 5 nats less of loss to carry the order, some tens of lists.
_STEADY, _QUICK, _START = 0.15, 0.1, 0.45

# Rates and horizon were tried on planted worlds and on the first half of a hotel's log, within a factor of
# two either way nothing much changed. Whoever forgets squares within 500 lists turns round within some
# hundred.
_FASTER = 3.0
FORGET = 1.0 / 500.0

# A 0/1 feature with a weight of 20 says odds of 5e8 to 1, which no log can bear out. Without a bound a
# feature that is never wrong (a leak of the label) would grow without end.
_MOST = 20.0

# A slope of more than ten times the root of all squares until then is cut to that: one absurd value makes
# later steps ten times smaller, where it would have stopped that weight for good.
_STEEP = 10.0

# ln 1000 is 6.9: who draws at random among the longest list loses less than this.
_MOST_LOSS = 10.0

# A thousandth of the shares goes back to where they began, each list: an expert that was useless for years is
# on top again after 7 nats (Herbster and Warmuth, Machine Learning 1998, "fixed share").
_BACK = 1e-3


def shares_at_first(begins: Bool) -> Float64:
    """The shares (3 + F,) that the experts begin with; `begins` (F,) says which features have a weight then.

    Example:
        >>> shares_at_first(np.array([True, False])).round(2).tolist()
        [0.15, 0.1, 0.45, 0.15, 0.15]
        >>> shares_at_first(np.array([False, False])).round(2).tolist()
        [0.5, 0.1, 0.0, 0.2, 0.2]
    """
    # An expert over nothing would sleep for good and keep its share.
    several = (_STEADY, _QUICK, _START) if begins.any() else (0.5, _QUICK, 0.0)
    alone = np.full(begins.size, (1.0 - sum(several)) / begins.size)
    return np.concatenate([several, alone])


@kernel
def _read(part: Float32, n: int, x: Float64, absent: Float64) -> int:
    """Append the rows of `part` that are known to the columns of x and `absent` (F, capacity), which hold
    `n`; returns how many they hold then.

    A row is known that is not NaN throughout and nowhere infinite.
    """
    for i in range(part.shape[0]):
        is_known = False
        for k in range(part.shape[1]):
            feature = part[i, k]
            if np.isinf(feature):
                is_known = False
                break
            is_missing = np.isnan(feature)
            is_known = is_known or not is_missing
            x[k, n] = 0.0 if is_missing else float(feature)
            absent[k, n] = 1.0 if is_missing else 0.0
        n += is_known
    return n


@kernel
def _look(x: Float64, absent: Float64, n: int, speaks: Bool, lacks: Bool) -> bool:
    """Which features tell one of n candidates from another (`speaks`), and which some lack (`lacks`), both
    (F,); whether any tells."""
    any_speaks = False
    for k in range(speaks.size):
        speaks[k], lacks[k] = False, absent[k, 0] > 0.0
        for i in range(1, n):
            lacks[k] |= absent[k, i] > 0.0
            speaks[k] |= x[k, i] != x[k, 0] or absent[k, i] != absent[k, 0]
        any_speaks |= speaks[k]
    return any_speaks


@kernel
def _softmax(scores: Float64, n: int, at: int) -> float:
    """Turn n scores into their softmax; returns -log of that of `at`."""
    best = scores[0]
    for i in range(1, n):
        best = max(best, scores[i])
    own, total, last, power = scores[at], 0.0, np.nan, 0.0
    for i in range(n):
        # Candidates of equal score often stand together (a feature of 0 and 1): exp is what takes the time.
        if scores[i] != last:
            last = scores[i]
            power = np.exp(last - best)
        scores[i] = power
        total += power
    for i in range(n):
        scores[i] /= total
    return float(best + np.log(total) - own)


@kernel
def _move(
    weights: Float64, squares: Float64, j: int, slope: float, rate: float, forget: float, floor: float
) -> bool:
    """One AdaGrad step of weight j; whether its slope or the weight was cut.

    G += slope^2 - forget G, w += rate slope / sqrt(G): no weight moves by more than `rate`.
    """
    before = max(squares[j], floor)
    most = _STEEP * np.sqrt(before)
    cut = min(max(slope, -most), most)
    squares[j] += cut * cut - forget * squares[j]
    moved = weights[j] + rate * cut / np.sqrt(max(squares[j], floor))
    weights[j] = min(max(moved, -_MOST), _MOST)
    return bool(cut != slope or weights[j] != moved)


@kernel
def _learn_all(
    x: Float64, absent: Float64, n: int, at: int, speaks: Bool, lacks: Bool, weights: Float64,
    squares: Float64, rate: float, forget: float, floor: float, liked: bool, p: Float64,
) -> tuple[float, bool]:  # fmt: skip
    """The step of an expert with weights (2 F,) over all features; its loss, and whether anything was cut.

    `p` is room for n numbers.
    """
    n_features = speaks.size
    p[:n] = 0.0
    # By features outside: each inner loop goes through memory in order and has no sum to wait for.
    for k in range(n_features):
        for i in range(n):
            p[i] += weights[k] * x[k, i]
        if lacks[k]:
            for i in range(n):
                p[i] += weights[n_features + k] * absent[k, i]
    loss = _softmax(p, n, at)
    # d/dw of -p is -p times that of log p.
    sign, is_cut = (1.0 if liked else -p[at]), False
    for k in range(n_features):
        if not speaks[k]:
            continue
        slope, slope_absent = x[k, at], absent[k, at]
        for i in range(n):
            slope -= p[i] * x[k, i]
        is_cut |= _move(weights, squares, k, sign * slope, rate, forget, floor)
        if lacks[k]:
            for i in range(n):
                slope_absent -= p[i] * absent[k, i]
            is_cut |= _move(weights, squares, n_features + k, sign * slope_absent, rate, forget, floor)
    return loss, is_cut


@kernel
def _learn_one(
    x: Float64, absent: Float64, n: int, at: int, k: int, lacks: bool, weights: Float64, squares: Float64,
    rate: float, floor: float, liked: bool, p: Float64,
) -> float:  # fmt: skip
    """The step of the expert over feature k alone, whose weights are k and, for missing, F + k; its loss."""
    other = weights.size // 2 + k
    for i in range(n):
        p[i] = weights[k] * x[k, i] + weights[other] * absent[k, i]
    loss = _softmax(p, n, at)
    sign, slope, slope_absent = (1.0 if liked else -p[at]), x[k, at], absent[k, at]
    for i in range(n):
        slope -= p[i] * x[k, i]
    _move(weights, squares, k, sign * slope, rate, FORGET, floor)
    if lacks:
        for i in range(n):
            slope_absent -= p[i] * absent[k, i]
        _move(weights, squares, other, sign * slope_absent, rate, FORGET, floor)
    return loss


@kernel
def _weigh(shares: Float64, at_first: Float64, losses: Float64, gap: Float64) -> None:
    """Move the shares by the losses of one list, (E,), NaN for experts that had nothing to say.

    AdaHedge (de Rooij, van Erven, Gruenwald, Koolen, JMLR 2014) over those that are awake: v_e times
    exp(-eta loss_e), with eta = ln E / (the sum of mixability gaps until now), at most 1, at which the loss
    of a mixture of softmaxes has no gap at all. Who sleeps keeps its share (Freund, Schapire, Singer,
    Warmuth, STOC 1997). `gap` (1,) is that sum, forgotten as squares are.
    """
    n, awake, mean, least = shares.size, 0.0, 0.0, np.inf
    for e in range(n):
        if not np.isnan(losses[e]):
            losses[e] = min(losses[e], _MOST_LOSS)
            awake += shares[e]
            mean += shares[e] * losses[e]
            least = min(least, losses[e])
    eta = min(1.0, np.log(n) / max(gap[0], 1e-9))
    kept = 0.0
    for e in range(n):
        if not np.isnan(losses[e]):
            kept += shares[e] * np.exp(-eta * (losses[e] - least))
    # Of all that are awake together: what each loses is measured against this.
    mixed = least - np.log(kept / awake) / eta
    gap[0] += max(mean / awake - mixed, 0.0) - FORGET * gap[0]
    total = 0.0
    for e in range(n):
        if not np.isnan(losses[e]):
            shares[e] *= np.exp(-eta * (losses[e] - mixed))
        total += shares[e]
    for e in range(n):
        shares[e] = (1.0 - _BACK) * shares[e] / total + _BACK * at_first[e]


@kernel
def _learn_click(
    x: Float64, absent: Float64, n: int, at: int, liked: bool, linear: Float64, linear_squares: Float64,
    single: Float64, single_squares: Float64, shares: Float64, at_first: Float64, gap: Float64, rate: float,
    floor: float, begins: Bool, speaks: Bool, lacks: Bool, losses: Float64, p: Float64,
) -> bool:  # fmt: skip
    """Every expert's step for one click; whether the steady one's was cut. See `learn_mixture`."""
    if not _look(x, absent, n, speaks, lacks):
        return False
    losses[:] = np.nan
    faster = _FASTER * rate
    losses[0], is_cut = _learn_all(
        x, absent, n, at, speaks, lacks, linear[0], linear_squares[0], rate, 0.0, floor, liked, p
    )
    losses[1], _ = _learn_all(
        x, absent, n, at, speaks, lacks, linear[1], linear_squares[1], faster, FORGET, floor, liked, p
    )
    of_start = speaks & begins
    if of_start.any():
        losses[2], _ = _learn_all(
            x, absent, n, at, of_start, lacks, linear[2], linear_squares[2], rate, 0.0, floor, liked, p
        )
    for k in range(speaks.size):
        if speaks[k]:
            losses[N_LINEAR + k] = _learn_one(
                x, absent, n, at, k, lacks[k], single, single_squares, faster, floor, liked, p
            )
    # A dislike lowers what every expert thinks of an item. It says nothing of who found what is liked.
    if liked:
        _weigh(shares, at_first, losses, gap)
    return is_cut


@kernel
def learn_mixture(
    kind: npt.NDArray[np.int8], first: Bool, reward: Float64, slate: Int32, place: Int32, ranked: Bool,
    start: Int32, features: Float32, linear: Float64, linear_squares: Float64, single: Float64,
    single_squares: Float64, shares: Float64, at_first: Float64,
    gap: Float64, rate: float, floor: float, begins: Bool,
) -> tuple[int, int, int]:  # fmt: skip
    """One step of every expert for each first click on a slate that is `ranked`, in order, and of the layer.

    Returns the steps taken, how many clicks taught nothing since the clicked item's features are not known,
    and at how many steps a slope or a weight of the steady expert was cut.

    The steady experts take AdaGrad steps (Duchi, Hazan, Singer, JMLR 2011), G += g^2, w += rate g / sqrt(G);
    the others are three times as fast and forget G. A first dislike (a reward below 0) lowers the softmax p
    of what was disliked: g is that of -p. Then it moves little where the item stood low already, and never
    without end.

    `features` (N, F) are those of shown places, NaN where missing. `linear` and `linear_squares` are
    (3, 2 F), `single` and `single_squares` (2 F,): weights and sums of squares of the features, and behind
    them those of their being missing. `shares` and `at_first` are (3 + F,), `gap` (1,), and
    `begins` (F,) says which features have a starting weight.
    """
    n_features = features.shape[1]
    speaks, lacks = np.zeros(n_features, np.bool_), np.zeros(n_features, np.bool_)
    losses = np.empty(shares.size)
    x, absent, p = np.empty((n_features, 64)), np.empty((n_features, 64)), np.empty(64)
    steps, unread, n_cut = 0, 0, 0
    for o in range(kind.size):
        if kind[o] != CLICK or not first[o] or not ranked[slate[o]]:
            continue
        s = slate[o]
        # Candidates that were not shown could not be clicked: to learn from them as if they had been passed
        # over is to confirm whatever order there was. Closed loops end lower with them.
        low, high = start[s], start[s + 1]
        most = high - low + 1
        if most > p.size:
            x, absent, p = (
                np.empty((n_features, 2 * most)),
                np.empty((n_features, 2 * most)),
                np.empty(2 * most),
            )
        at = _read(features[low : place[o]], 0, x, absent)
        n = _read(features[place[o] : place[o] + 1], at, x, absent)
        if n == at:
            unread += 1
            continue
        n = _read(features[place[o] + 1 : high], n, x, absent)
        n_cut += _learn_click(
            x, absent, n, at, reward[o] > 0.0, linear, linear_squares, single, single_squares, shares,
            at_first, gap, rate, floor, begins, speaks, lacks, losses, p,
        )  # fmt: skip
        steps += 1
    return steps, unread, n_cut
