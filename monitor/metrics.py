"""Ranking metrics, each with its definition written down.

Definitions differ between libraries; these are ours. All take one list or one array and return one number, so
averaging over events (and the interval) is the caller's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from monitor.errors import MeasureError

__all__ = ["auc", "hit_at_k", "ndcg_at_k"]


def hit_at_k(ranked: Sequence[str], relevant: str, k: int) -> float:
    """1.0 when `relevant` is among the first `k` of `ranked`, else 0.0.

    Raises:
        MeasureError: k is below 1.

    Example:
        >>> hit_at_k(["a", "b", "c"], "b", 2), hit_at_k(["a", "b", "c"], "c", 2)
        (1.0, 0.0)
    """
    _check(k)
    return 1.0 if relevant in ranked[:k] else 0.0


def ndcg_at_k(gains: Sequence[float], k: int) -> float:
    """Normalised discounted cumulative gain of one ranked list.

    DCG = sum over places j = 1..k of gain_j / log2(j + 1); the ideal sorts the same gains. A list without any
    gain has no ideal and scores 0.0 (Järvelin and Kekäläinen 2002, with gains taken as they are).

    Raises:
        MeasureError: k is below 1.

    Example:
        >>> round(ndcg_at_k([0, 1, 0], 3), 4), ndcg_at_k([1, 0], 2), ndcg_at_k([], 5)
        (0.6309, 1.0, 0.0)
    """
    _check(k)
    ideal = _dcg(sorted(gains, reverse=True), k)
    return _dcg(gains, k) / ideal if ideal > 0 else 0.0


def _check(k: int) -> None:
    if k < 1:
        msg = f"k: expected the length of a list, at least 1, got {k}"
        raise MeasureError(msg)


def _dcg(gains: Sequence[float], k: int) -> float:
    return sum(gain / math.log2(place + 2) for place, gain in enumerate(gains[:k]))


def auc(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Probability that a positive scores above a negative, ties counting one half (Mann-Whitney).

    `scores` and `labels` have shape (n,); a label above 0 is a positive. NaN when one class is missing.

    Raises:
        MeasureError: the shapes differ.

    Example:
        >>> auc([0.9, 0.4, 0.4, 0.1], [1, 1, 0, 0])
        0.875
    """
    s, y = np.asarray(scores, dtype=np.float64), np.asarray(labels) > 0
    if s.shape != y.shape or s.ndim != 1:
        msg = f"AUC needs scores and labels of one shape (n,), got {s.shape} and {y.shape}"
        raise MeasureError(msg)
    positives = int(y.sum())
    negatives = y.size - positives
    if not positives or not negatives:
        return math.nan
    from scipy import stats  # slow to load, as `monitor.stats` says

    rank_sum = float(stats.rankdata(s)[y].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)
