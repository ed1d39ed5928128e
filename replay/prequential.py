"""Predict, then learn: how well the state before each click foretells it."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from monitor import Interval, RunningMoments, auc, bounded_interval, hit_at_k, ndcg_at_k
from replay.drive import Observer
from stream.blocks import CLICK, CLOSED, ORGANIC, SHOWN, FeedbackBlock, Slate

__all__ = ["Prequential", "PrequentialResult", "Recommender"]

Float64 = npt.NDArray[np.float64]


class Recommender(Protocol):
    """The current state as a recommender; reading it changes nothing."""

    def recommend(self, user_id: str, k: int, ts: int) -> Sequence[str]:
        """The best k items for a user at `ts` (ms), best first, without exploration."""

    def scores(self, user_id: str, item_ids: Sequence[str], ts: int) -> Float64:
        """Scores (n,) of given items for a user; higher is better, any scale."""

    def reachable(self, user_id: str, item_id: str, ts: int) -> bool:
        """Whether `recommend` could name this item at all: known, servable, not clicked before."""


@dataclass(slots=True)
class PrequentialResult:
    """What was predicted: parallel columns over the scored positives, and the slates' AUC."""

    k: int
    ts_ms: array[int] = field(default_factory=lambda: array("q"))
    hits: array[int] = field(default_factory=lambda: array("b"))
    ndcg: array[float] = field(default_factory=lambda: array("f"))
    reachable: int = 0
    slate_auc: RunningMoments = field(default_factory=RunningMoments)

    @property
    def positives(self) -> int:
        """Clicks that were predicted before they were learned."""
        return len(self.hits)

    def hit_at_k(self) -> Interval | None:
        """Mean hit@k with its interval; None without a positive."""
        return bounded_interval(self.hits, 0.0, 1.0) if self.hits else None

    def ndcg_at_k(self) -> Interval | None:
        """Mean NDCG@k with its interval; None without a positive."""
        return bounded_interval(self.ndcg, 0.0, 1.0) if self.ndcg else None

    def auc(self) -> Interval | None:
        """Mean AUC over slates that had both a click and a place without; None without such a slate."""
        return self.slate_auc.bounded(0.0, 1.0) if self.slate_auc.count else None


class Prequential(Observer):
    """Scores predictions as the log goes by; the state has never seen what it is asked about.

    * **hit@k, NDCG@k**: for every positive (the first click on a shown place; every organic click; a dislike
      is none), just before it is learned, `recommend(user, k, ts)` names k items. hit is 1 when the clicked
      item is among them, and NDCG = 1 / log2(rank + 1) then, else both are 0 (one relevant item, so the ideal
      is 1). Every positive counts, also one that nobody could name; `reachable` counts those that could have
      been.
    * **AUC**: when a slate is shown, before that is learned, its items are scored; when its window closes (or
      the log ends) the AUC of those scores against clicked or not is taken. Slates without both kinds have
      none. The mean is over slates, so it asks for order *within* a slate, not between users.

    Intervals treat positives and slates as independent; clicks of one user are not quite, so they are a
    little narrow. Grows by 13 bytes a positive, and by the scores of the slates whose window is open.

    Args:
        recommender: reads the state that the step is learning.
        k: length of the list.
        every: score one in so many positives and slates, for long logs.

    Source: Dawid 1984 (prequential); the definitions of `monitor.metrics`.

    Example:
        >>> class Fixed:
        ...     def recommend(self, user_id, k, ts): return ["a", "b"][:k]
        ...     def scores(self, user_id, item_ids, ts): return np.arange(len(item_ids), dtype=np.float64)
        ...     def reachable(self, user_id, item_id, ts): return item_id in "ab"
        >>> scored = Prequential(Fixed(), k=2)
        >>> block = FeedbackBlock([], [("u", "b"), ("u", "c")], [3, 3], [0, 1], [-1, -1], [1.0, 1.0])
        >>> block.first, block.ts = [True, True], [5, 6]
        >>> scored.observe(block)
        >>> scored.result.hit_at_k().mean, round(scored.result.ndcg_at_k().mean, 4), scored.result.reachable
        (0.5, 0.3155, 1)
    """

    def __init__(self, recommender: Recommender, *, k: int = 20, every: int = 1) -> None:
        self._recommender = recommender
        self._every = every
        self._n_positives = self._n_slates = 0
        self._open: dict[str, tuple[Slate, Float64]] = {}
        self.result = PrequentialResult(k)

    def needs_state(self, block: FeedbackBlock) -> bool:
        """Whatever is shown or clicked is predicted first."""
        return any(kind != CLOSED for kind in block.kind)

    def observe(self, block: FeedbackBlock) -> None:
        """Score the slates and positives of one event."""
        for kind, ref, place, reward, first, ts in zip(
            block.kind, block.ref, block.place, block.reward, block.first, block.ts, strict=True
        ):
            if kind == ORGANIC:
                user_id, item_id = block.organic[ref]
                if reward > 0.0:
                    self._positive(user_id, item_id, ts)
                continue
            slate = block.slates[ref]
            if kind == CLICK and first and reward > 0.0:
                self._positive(slate.user_id, slate.items[place], ts)
            elif kind == SHOWN:
                self._shown(slate, ts)
            elif kind == CLOSED:
                self._closed(slate.request_id)

    def finish(self) -> None:
        """Windows still open count with the clicks they have."""
        for request_id in list(self._open):
            self._closed(request_id)

    def _positive(self, user_id: str, item_id: str, ts: int) -> None:
        self._n_positives += 1
        if (self._n_positives - 1) % self._every:
            return
        result, k = self.result, self.result.k
        named = self._recommender.recommend(user_id, k, ts)
        gains = [float(name == item_id) for name in named]
        result.ts_ms.append(ts)
        result.hits.append(int(hit_at_k(named, item_id, k)))
        result.ndcg.append(ndcg_at_k(gains, k))
        result.reachable += self._recommender.reachable(user_id, item_id, ts)

    def _shown(self, slate: Slate, ts: int) -> None:
        self._n_slates += 1
        if (self._n_slates - 1) % self._every == 0:
            scores = self._recommender.scores(slate.user_id, slate.items, ts)
            self._open[slate.request_id] = (slate, scores)

    def _closed(self, request_id: str) -> None:
        slate, scores = self._open.pop(request_id, (None, None))
        if slate is None or scores is None:
            return
        labels = [slate.rewards.get(place, 0.0) for place in range(len(slate.items))]
        value = auc(scores, labels)
        if value == value:
            self.result.slate_auc.add(value)
