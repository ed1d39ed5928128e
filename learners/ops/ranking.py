"""The ranker's features, and its step: a listwise softmax over what was shown and what could have been."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stream.kernel import kernel

__all__ = ["blend_features", "learn_clicks"]

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]


def blend_features(
    popularity: Float64,
    together: Float64,
    taste: Float32,
    history: int,
    *,
    popularity_floor: float,
    together_floor: float,
) -> Float32:
    """Features (n, H + 3) of n candidates.

    `popularity` (H, n) fading counts, `together` (n,) co-occurrence scores, `taste` (n,) dot products of user
    and item vectors, `history` remembered items of the user. Columns: log(pop_h + floor) for each half-life,
    mirrored at log(floor) for what is disliked more than clicked; log(co + floor); the same times log(1 +
    history), since a longer history says more; taste.

    Example:
        >>> one = np.ones(1)
        >>> taste = one.astype(np.float32)
        >>> blend_features(one[None], one, taste, 0, popularity_floor=0.0, together_floor=0.0)
        array([[0., 0., 0., 1.]], dtype=float32)
    """
    logs = np.empty((popularity.shape[0] + 1, together.size))
    is_disliked = popularity < 0.0
    has_disliked = bool(is_disliked.any())
    np.add(np.abs(popularity) if has_disliked else popularity, popularity_floor, out=logs[:-1])
    np.add(together, together_floor, out=logs[-1])
    np.log(logs, out=logs)
    if has_disliked:
        logs[:-1][is_disliked] = 2.0 * np.log(popularity_floor) - logs[:-1][is_disliked]
    return _columns(logs, float(np.log1p(history)), taste)


@kernel
def _columns(logs: Float64, longer: float, taste: Float32) -> Float32:
    """Features of each candidate side by side; the last row of `logs` (H + 1, n) is co-occurrence."""
    last = logs.shape[0] - 1
    out = np.empty((logs.shape[1], last + 3), np.float32)
    for n in range(logs.shape[1]):
        for h in range(last + 1):
            out[n, h] = np.float32(logs[h, n])
        out[n, last + 1] = np.float32(logs[last, n] * longer)
        out[n, last + 2] = taste[n]
    return out


@kernel
def _softmax_gradient(
    weights: Float64, shown: Float32, others: Float32, clicked: int, scores: Float64, gradient: Float64
) -> float:
    """gradient = f(clicked) - sum over S of softmax(w . f) f; S = `shown` and `others` without NaN rows.

    Returns the softmax of the clicked one, -1 where its features are not known.
    """
    n_shown, n_all = shown.shape[0], shown.shape[0] + others.shape[0]
    best = -np.inf
    for n in range(n_all):
        score = 0.0
        for k in range(weights.size):
            score += weights[k] * float(shown[n, k] if n < n_shown else others[n - n_shown, k])
        scores[n] = score
        if np.isfinite(score) and score > best:
            best = score
    if not np.isfinite(scores[clicked]):
        return -1.0
    total = 0.0
    for n in range(n_all):
        scores[n] = np.exp(scores[n] - best) if np.isfinite(scores[n]) else 0.0
        total += scores[n]
    for k in range(weights.size):
        gradient[k] = float(shown[clicked, k])
    for n in range(n_all):
        if scores[n] > 0.0:
            for k in range(weights.size):
                feature = float(shown[n, k] if n < n_shown else others[n - n_shown, k])
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
) -> int:
    """One AdaGrad step for each first click on a decided slate, in order; returns the steps taken.

    A first dislike (a reward below 0) lowers the softmax p of what was disliked: g is that of -p. Then it
    moves little where the item stood low already, and never without end.

    G += g^2, w += rate g / sqrt(G): no weight moves by more than `rate` at a click (Duchi, Hazan, Singer,
    JMLR 2011). `weights` and `squares` are (F,), `features` (N, F), `other_features` (M, F).
    """
    gradient = np.zeros(weights.size)
    steps = 0
    for o in range(kind.size):
        if kind[o] != 1 or not first[o] or not decided[slate[o]]:
            continue
        s = slate[o]
        shown = features[start[s] : start[s + 1]]
        others = other_features[other_start[s] : other_start[s + 1]]
        scores = np.empty(shown.shape[0] + others.shape[0])
        p = _softmax_gradient(weights, shown, others, place[o] - start[s], scores, gradient)
        if p < 0.0:
            continue
        steps += 1
        sign = 1.0 if reward[o] > 0.0 else -p
        for k in range(weights.size):
            step = sign * gradient[k]
            squares[k] += step * step
            weights[k] += rate * step / np.sqrt(squares[k])
    return steps
