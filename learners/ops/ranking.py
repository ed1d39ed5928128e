"""The ranker's step: a listwise softmax over what was shown and what could have been."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stream.kernel import kernel
from stream.ops.kinds import CLICK

__all__ = ["learn_clicks", "score_rows"]

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]


@kernel
def score_rows(features: Float32, weights: Float64, scores: Float64) -> None:
    """scores[n] = sum over k of weights[k] f[n, k], or weights[F + k] where f[n, k] is NaN: missing.

    `features` (n, F), `weights` (2 F,). An infinite feature makes a score that is not finite.
    """
    n_features = features.shape[1]
    for n in range(features.shape[0]):
        score = 0.0
        for k in range(n_features):
            feature = float(features[n, k])
            score += weights[n_features + k] if np.isnan(feature) else weights[k] * feature
        scores[n] = score


@kernel
def _known(features: Float32, scores: Float64) -> None:
    """Make the score of a row NaN that is NaN throughout: nothing is known of this candidate."""
    for n in range(features.shape[0]):
        for k in range(features.shape[1]):
            if not np.isnan(features[n, k]):
                break
        else:
            scores[n] = np.nan


@kernel
def _softmax_gradient(
    weights: Float64, shown: Float32, others: Float32, clicked: int, scores: Float64, gradient: Float64
) -> float:
    """gradient = x(clicked) - sum over S of softmax(w . x) x; S = `shown` and `others` without NaN rows.

    x (2 F,) is f with 0 for what is missing, and behind it 1 for what is missing and 0 else. Returns the
    softmax of the clicked one, -1 where its features are not known.
    """
    n_shown, n_all, n_features = shown.shape[0], shown.shape[0] + others.shape[0], shown.shape[1]
    for part, low in ((shown, 0), (others, n_shown)):
        score_rows(part, weights, scores[low:])
        _known(part, scores[low:])
    if not np.isfinite(scores[clicked]):
        return -1.0
    # The largest score is taken off before exp, which would overflow beyond 709.
    best = -np.inf
    for n in range(n_all):
        if np.isfinite(scores[n]) and scores[n] > best:
            best = scores[n]
    total = 0.0
    for n in range(n_all):
        # A row of NaN is a candidate whose features were not known: it is left out of the softmax.
        scores[n] = np.exp(scores[n] - best) if np.isfinite(scores[n]) else 0.0
        total += scores[n]
    gradient[:] = 0.0
    for k in range(n_features):
        feature = float(shown[clicked, k])
        if np.isnan(feature):
            gradient[n_features + k] = 1.0
        else:
            gradient[k] = feature
    for n in range(n_all):
        if scores[n] > 0.0:
            for k in range(n_features):
                feature = float(shown[n, k] if n < n_shown else others[n - n_shown, k])
                if np.isnan(feature):
                    gradient[n_features + k] -= scores[n] / total
                else:
                    gradient[k] -= scores[n] / total * feature
    return float(scores[clicked] / total)


@kernel
def learn_clicks(
    kind: npt.NDArray[np.int8],
    first: npt.NDArray[np.bool_],
    reward: Float64,
    slate: Int32,
    place: Int32,
    decided: npt.NDArray[np.bool_],
    start: Int32,
    features: Float32,
    other_start: Int32,
    other_features: Float32,
    weights: Float64,
    squares: Float64,
    rate: float,
) -> tuple[int, int]:
    """One AdaGrad step for each first click on a decided slate, in order; returns the steps taken, and how
    many clicks taught nothing since the clicked item's features are not known.

    A first dislike (a reward below 0) lowers the softmax p of what was disliked: g is that of -p. Then it
    moves little where the item stood low already, and never without end.

    G += g^2, w += rate g / sqrt(G): no weight moves by more than `rate` at a click (Duchi, Hazan, Singer,
    JMLR 2011). `features` (N, F) and `other_features` (M, F) may be NaN: missing. `weights` and `squares` are
    (2 F,): those of the features, and behind them those of their being missing.
    """
    gradient = np.zeros(weights.size)
    steps, unread = 0, 0
    for o in range(kind.size):
        if kind[o] != CLICK or not first[o] or not decided[slate[o]]:
            continue
        s = slate[o]
        shown = features[start[s] : start[s + 1]]
        others = other_features[other_start[s] : other_start[s + 1]]
        scores = np.empty(shown.shape[0] + others.shape[0])
        p = _softmax_gradient(weights, shown, others, place[o] - start[s], scores, gradient)
        if p < 0.0:
            unread += 1
            continue
        steps += 1
        # d/dw of -p is -p times the gradient of log p, which `gradient` holds.
        sign = 1.0 if reward[o] > 0.0 else -p
        for k in range(weights.size):
            step = sign * gradient[k]
            squares[k] += step * step
            weights[k] += rate * step / np.sqrt(squares[k])
    return steps, unread
