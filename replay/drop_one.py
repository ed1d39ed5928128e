"""Which features carry the order of lists: what the log loss of the click becomes without each of them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from monitor import ORDER_METRICS, Interval, RunningMoments, order_metrics
from replay.list_scorer import FeatureScorer
from stream.blocks import Slate

__all__ = ["DropOne", "Dropped"]

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

_AUC = ORDER_METRICS.index("auc")
_MOST_OPEN = 4_096
_LEAK = 0.99
_FEW = 30


class Dropped(NamedTuple):
    """What a feature, or a scorer with all of its features, does for the order of lists.

    `loss` is what the log loss of the click gains without it: above 0, it helps. `alone` is the mean AUC of a
    single feature as an order, None for a scorer; `is_leak` says that it knows the click nearly always.
    """

    name: str
    loss: Interval
    alone: float | None = None
    is_leak: bool = False


class _Open(NamedTuple):
    features: Float32
    scores: Float64  # (1 + F + scorers, n): whole, without each


class DropOne:
    """Scores each list also without each feature and without each scorer, by the weights of that moment.

    Without a feature means that all items of which anything is known have the same value of it, so it says
    nothing of one against another. Others keep the weights that they have beside it: of two that say the
    same, neither is missed. A feature whose AUC alone (a missing value comes last) is above 0.99, or below
    0.01, over at least 30 lists is called a leak: it is probably known only after the click.

    Keeps (1 + 2 F + scorers) numbers an item of lists whose window is open, of at most 4,096 lists; further
    ones are left out (`left_out`).

    Args:
        scorer: reads the state that the step is learning.

    Example:
        >>> class Two:
        ...     features, shares = {"place": ["first"], "taste": ["liked"]}, {}
        ...     def list_features(self, slate, ts, as_logged):
        ...         return np.array([[1, 0], [0, 1]], np.float32)
        ...     def score(self, features): return features @ [3.0, 0.0]
        >>> without = DropOne(Two())
        >>> scores = without.shown(Slate(request_id="r", user_id="u", ts=5, items=["a", "b"]), 5)
        >>> without.closed("r", np.array([True, False]))
        >>> [(each.name, round(each.loss.mean, 3), each.alone) for each in without.features()]
        [('first', 0.645, 1.0), ('liked', 0.0, 0.0)]
    """

    def __init__(self, scorer: FeatureScorer) -> None:
        self._scorer = scorer
        self._groups = {name: list(columns) for name, columns in scorer.features.items()}
        self.names = [name for columns in self._groups.values() for name in columns]
        starts = np.cumsum([0, *map(len, self._groups.values())])
        spans = [slice(low, high) for low, high in pairwise(starts.tolist())]
        self._spans = [*(slice(n, n + 1) for n in range(len(self.names))), *spans]
        self._open: dict[str, _Open] = {}
        self._lost = [RunningMoments() for _ in self._spans]
        self._alone = [RunningMoments() for _ in self.names]
        self.lists = self.left_out = 0

    def shown(self, slate: Slate, ts: int, *, as_logged: bool = False) -> Float64:
        """Scores (n,) of the whole, as the scorer gives them; the rest is kept until `closed`."""
        features = self._scorer.list_features(slate, ts, as_logged=as_logged)
        whole = self._scorer.score(features)
        if len(self._open) >= _MOST_OPEN:
            self.left_out += 1
            return whole
        n, n_features = features.shape
        without = np.repeat(features[None], len(self._spans), axis=0)
        known = ~np.isnan(features).all(axis=1)
        for at, span in enumerate(self._spans):
            without[at, known, span] = 0.0
        scores = self._scorer.score(without.reshape(-1, n_features)).reshape(-1, n)
        self._open[slate.request_id] = _Open(features, np.concatenate((whole[None], scores)))
        return whole

    def closed(self, request_id: str, clicked: npt.NDArray[np.bool_]) -> None:
        """The window of a list is over; `clicked` (n,)."""
        kept = self._open.pop(request_id, None)
        if kept is None or not clicked.any():
            return
        self.lists += 1
        scores = np.where(np.isfinite(kept.scores), kept.scores, -np.inf)
        with np.errstate(invalid="ignore"):
            lost = (np.logaddexp.reduce(scores, axis=1)[:, None] - scores[:, clicked]).mean(axis=1)
        if np.isfinite(lost).all():
            for moments, more in zip(self._lost, (lost[1:] - lost[0]).tolist(), strict=True):
                moments.add(more)
        columns = np.where(np.isnan(kept.features), -np.inf, kept.features).T
        aucs = order_metrics(columns, clicked)[:, _AUC].tolist()
        for moments, value in zip(self._alone, aucs, strict=True):
            if value == value:
                moments.add(value)

    @property
    def shares(self) -> Mapping[str, float]:
        """The share that each order has in the mixture now, the largest first."""
        return self._scorer.shares

    def drop(self, request_id: str) -> None:
        """The list does not count."""
        self._open.pop(request_id, None)

    def features(self) -> list[Dropped]:
        """Each feature, the one whose loss would be largest first."""
        found = []
        for name, lost, alone in zip(self.names, self._lost, self._alone, strict=False):
            is_leak = alone.count >= _FEW and not 1 - _LEAK <= alone.mean <= _LEAK
            found.append(Dropped(name, lost.interval(), alone.mean if alone.count else None, is_leak))
        return sorted(found, key=lambda each: -each.loss.mean)

    def scorers(self) -> list[Dropped]:
        """Each scorer with all of its features, likewise."""
        pairs = zip(self._groups, self._lost[len(self.names) :], strict=True)
        found = [Dropped(name, lost.interval()) for name, lost in pairs]
        return sorted(found, key=lambda each: -each.loss.mean)
