"""How well scores order one list of which some items were clicked, where ties count as what chance makes of
them.

An order that says nothing (all scores equal) is then exactly a random order, and no order gains or loses by
the way in which somebody happens to sort equals.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from monitor.errors import MeasureError

__all__ = ["ORDER_METRICS", "order_metrics"]

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

ORDER_METRICS = ("mrr", "ndcg_at_5", "ndcg_at_10", "hit_at_1", "hit_at_5", "auc")
"""The columns of `order_metrics`."""
_GAINS = np.concatenate(([0.0], np.cumsum(1.0 / np.log2(np.arange(2, 12)))))
"""What the first j places, all clicked, are worth; no metric looks beyond the tenth."""


def order_metrics(scores: npt.ArrayLike, labels: npt.ArrayLike) -> Float64:
    """`ORDER_METRICS` (..., 6) of one list by one or several `scores` (..., n), higher first.

    Each is the mean over all orders of its ties. A label (n,) above 0 is a click; every click counts alike.

    * **MRR**: 1 / place of the first clicked item, places from 1.
    * **NDCG@k**: sum of 1 / log2(place + 1) over the clicked items among the first k, divided by the best
      that an order could reach.
    * **hit@k**: whether a clicked item is among the first k.
    * **AUC**: share of pairs, one clicked and one not, that stand in the right order; NaN without a pair.

    Raises:
        MeasureError: shapes do not fit, a score is NaN, or nothing was clicked.

    Example:
        >>> order_metrics([0.9, 0.4, 0.4], [0, 1, 0]).round(4).tolist()  # second or third, a half each
        [0.4167, 0.5655, 0.5655, 0.0, 1.0, 0.25]
    """
    s, clicked = np.asarray(scores, np.float64), np.asarray(labels) > 0
    if clicked.ndim != 1 or s.shape[-1:] != clicked.shape or np.isnan(s).any() or not clicked.any():
        msg = (
            f"an order needs scores (..., n), none of them NaN, and labels (n,), one of them above 0; got "
            f"{s.shape} and {clicked.shape}"
        )
        raise MeasureError(msg)
    rows = s.reshape(-1, clicked.size)
    at = np.flatnonzero(clicked)
    # (rows, clicked, n): what stands above a clicked item, and what ties with it, itself included.
    own = rows[:, at, None]
    is_above, is_tied = rows[:, None, :] > own, rows[:, None, :] == own
    above, tied = is_above.sum(2), is_tied.sum(2)
    first, hits = _first(above, tied)
    columns = [first, *(_ndcg(above, tied, k) for k in (5, 10)), *hits]
    columns.append(_auc(is_above, is_tied, ~clicked))
    return np.stack(columns, axis=-1).reshape(*s.shape[:-1], len(ORDER_METRICS))


def _first(above: Int64, tied: Int64) -> tuple[Float64, list[Float64]]:
    """Mean of 1 / place of the first clicked item (rows,), and the shares of orders that have it among the
    first 1 and the first 5. `above` and `tied` are (rows, clicked)."""
    top = above.min(axis=1, keepdims=True)
    size = np.take_along_axis(tied, above.argmin(axis=1)[:, None], 1)
    n_clicked = (above == top).sum(axis=1, keepdims=True)  # of one score, hence in the same ties
    place = np.arange(int(size.max()))
    # later[:, j]: probability that none of those clicked is among the first j of their ties.
    stays = np.maximum(size - n_clicked - place, 0) / np.maximum(size - place, 1)
    later = np.concatenate((np.ones_like(top, np.float64), np.cumprod(stays, axis=1)), axis=1)
    mean = ((later[:, :-1] - later[:, 1:]) / (top + 1 + place)).sum(axis=1)
    hits = [1.0 - np.take_along_axis(later, np.clip(k - top, 0, size), 1)[:, 0] for k in (1, 5)]
    return mean, hits


def _ndcg(above: Int64, tied: Int64, k: int) -> Float64:
    """(rows,): a clicked item stands at each place of its ties equally often, and gains add up."""
    low, high = np.minimum(above, k), np.minimum(above + tied, k)
    return np.asarray(((_GAINS[high] - _GAINS[low]) / tied).sum(axis=1) / _GAINS[min(k, above.shape[1])])


def _auc(
    is_above: npt.NDArray[np.bool_], is_tied: npt.NDArray[np.bool_], is_other: npt.NDArray[np.bool_]
) -> Float64:
    n_other = int(is_other.sum())
    if not n_other:
        return np.full(is_above.shape[0], math.nan)
    wrong = is_above[..., is_other].sum(2) + 0.5 * is_tied[..., is_other].sum(2)
    return np.asarray(1.0 - wrong.mean(axis=1) / n_other)
