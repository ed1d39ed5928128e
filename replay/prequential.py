"""Predict, then learn: how well the state before each click foretells it."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from monitor import Interval, bounded_interval, hit_at_k, ndcg_at_k
from replay.drive import Observer
from replay.drop_one import DropOne
from replay.lists import LIST_METRICS, Lists, ListsResult
from stream.blocks import CLICK, CLOSED, ORGANIC, FeedbackBlock, Slate
from stream.events import LoggedEvent

__all__ = ["Prequential", "PrequentialResult", "Recommender"]

Float64 = npt.NDArray[np.float64]

_AUC = LIST_METRICS.index("auc")


class Recommender(Protocol):
    """The current state as a recommender; reading it changes nothing."""

    def recommend(self, user_id: str, k: int, ts: int) -> Sequence[str]:
        """The best k items for a user at `ts` (ms), best first, without exploration."""

    def scores(self, slate: Slate, ts: int, *, as_logged: bool = False) -> Float64:
        """As `replay.list_scorer.ListScorer`: scores (n,) of a list's items for its user."""

    def reachable(self, user_id: str, item_id: str, ts: int) -> bool:
        """Whether `recommend` could name this item at all: known, servable, not clicked before."""


@dataclass(slots=True)
class PrequentialResult:
    """What was predicted: parallel columns over the scored positives, and the order within lists."""

    k: int
    ts_ms: array[int] = field(default_factory=lambda: array("q"))
    hits: array[int] = field(default_factory=lambda: array("b"))
    ndcg: array[float] = field(default_factory=lambda: array("f"))
    reachable: int = 0
    lists: ListsResult = field(default_factory=ListsResult)

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
        return self.lists.whole.interval(0, _AUC)

    @property
    def slates_with_auc(self) -> int:
        """Slates that had both a click and a place without."""
        return self.lists.whole.count(0, _AUC)


class Prequential(Observer):
    """Scores predictions as the log goes by; the state has never seen what it is asked about.

    * **hit@k, NDCG@k**: for every positive (the first click on a shown place; every organic click; a dislike
      is none), just before it is learned, `recommend(user, k, ts)` names k items. hit is 1 when the clicked
      item is among them, and NDCG = 1 / log2(rank + 1) then, else both are 0 (one relevant item, so the ideal
      is 1). Every positive counts, also one that nobody could name; `reachable` counts those that could have
      been.
    * **AUC** and all else that `replay.lists.Lists` takes of each slate: when it is shown, before that is
      learned, its items are scored; when its window closes (or the log ends) the scores are held against
      clicked or not. The mean is over slates, so it asks for order *within* a slate, not between users.

    Intervals treat positives and slates as independent; clicks of one user are not quite, so they are a
    little narrow. Grows by 13 bytes a positive, and as `Lists` does.

    Args:
        recommender: reads the state that the step is learning.
        k: length of the list.
        every: score one in so many positives and slates, for long logs.
        simple: score simple orders of the slates beside.
        without: scores the slates without each feature too.

    Source: Dawid 1984 (prequential); the definitions of `monitor.metrics`.

    Example:
        >>> class Fixed:
        ...     def recommend(self, user_id, k, ts): return ["a", "b"][:k]
        ...     def scores(self, slate, ts, as_logged): return np.arange(len(slate.items), dtype=np.float64)
        ...     def reachable(self, user_id, item_id, ts): return item_id in "ab"
        >>> scored = Prequential(Fixed(), k=2)
        >>> block = FeedbackBlock([], [("u", "b"), ("u", "c")], [3, 3], [0, 1], [-1, -1], [1.0, 1.0])
        >>> block.first, block.ts = [True, True], [5, 6]
        >>> scored.observe(block)
        >>> scored.result.hit_at_k().mean, round(scored.result.ndcg_at_k().mean, 4), scored.result.reachable
        (0.5, 0.3155, 1)
    """

    def __init__(
        self,
        recommender: Recommender,
        *,
        k: int = 20,
        every: int = 1,
        simple: bool = False,
        without: DropOne | None = None,
    ) -> None:
        self._recommender = recommender
        self._every = every
        self._n_positives = 0
        self._lists = Lists(recommender, simple=simple, every=every, without=without)
        self.result = PrequentialResult(k, lists=self._lists.result)

    def note(self, event: LoggedEvent, *, backfill: bool) -> None:
        """What slates will not say of themselves."""
        self._lists.note(event, backfill=backfill)

    def needs_state(self, block: FeedbackBlock) -> bool:
        """Whatever is shown or clicked is predicted first."""
        return any(kind != CLOSED for kind in block.kind)

    def observe(self, block: FeedbackBlock) -> None:
        """Score the slates and positives of one event."""
        for kind, ref, place, reward, first, ts in zip(
            block.kind, block.ref, block.place, block.reward, block.first, block.ts, strict=True
        ):
            if kind == ORGANIC and reward > 0.0:
                user_id, item_id = block.organic[ref]
                self._positive(user_id, item_id, ts)
            elif kind == CLICK and first and reward > 0.0:
                slate = block.slates[ref]
                self._positive(slate.user_id, slate.items[place], ts)
        self._lists.observe(block)

    def finish(self) -> None:
        """Windows still open count with the clicks they have."""
        self._lists.finish()

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
