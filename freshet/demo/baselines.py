"""Plain recommenders that learn from the same events, for a fair table.

They run inside the demo's own process, learn at once and completely, and never explore. A film enters their
catalogue when it enters Freshet's: after its first rating has been scored.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["Baseline", "PopularBaseline", "PopularCooccurrence", "UniformBaseline", "all_baselines"]

_DAY_MS = 86_400_000.0


class Baseline(Protocol):
    """Ask, score, then learn; items are dense numbers from 0."""

    def top(self, user: int, seen: set[int], size: int, k: int, ts_ms: int) -> npt.NDArray[np.int64]:
        """At most `k` unseen films of the first `size` of the catalogue, best first."""

    def learn(self, user: int, item: int, ts_ms: int) -> None:
        """Take one rating."""


class UniformBaseline:
    """Films drawn uniformly at random."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)

    def top(self, user: int, seen: set[int], size: int, k: int, ts_ms: int) -> npt.NDArray[np.int64]:
        """`k` distinct unseen films, uniformly."""
        wanted = min(size, k + len(seen))
        drawn = self._rng.choice(size, wanted, replace=False) if wanted else np.empty(0, np.int64)
        return _unseen(drawn, seen, k)

    def learn(self, user: int, item: int, ts_ms: int) -> None:
        """Nothing to learn."""


class PopularBaseline:
    """Films by number of ratings, each counting 2^(-age / half_life); no half-life: all time."""

    def __init__(self, n_items: int, start_ms: int, half_life_ms: float | None = None) -> None:
        self._score = np.zeros(n_items)
        self._start_ms, self._half_life_ms = start_ms, half_life_ms

    def scores(self) -> npt.NDArray[np.float64]:
        """Score of every film, on a scale that only ever grows (the common factor does not matter)."""
        return self._score

    def top(self, user: int, seen: set[int], size: int, k: int, ts_ms: int) -> npt.NDArray[np.int64]:
        """The `k` most popular unseen films."""
        return _best(self._score[:size], seen, k)

    def learn(self, user: int, item: int, ts_ms: int) -> None:
        """Count a rating at today's weight instead of shrinking all the others."""
        age = ts_ms - self._start_ms
        self._score[item] += 1.0 if self._half_life_ms is None else 2.0 ** (age / self._half_life_ms)


class PopularCooccurrence:
    """Half-life popularity with item-to-item co-occurrence on top.

    score(j) = p(j) / max p + 0.1 · c(j) / max c, where p is the popularity with a half-life and
    c(j) = sum over the user's last films i, newest first, of 0.8^place · n(i, j) / sqrt((n(i) + 3)(n(j) +
    3)); n(i, j) counts ratings of j within five ratings of i by one user, n(i) the pairs that i was in.
    """

    def __init__(self, n_items: int, start_ms: int, half_life_ms: float) -> None:
        self._popular = PopularBaseline(n_items, start_ms, half_life_ms)
        self._pairs: list[dict[int, float]] = [{} for _ in range(n_items)]
        self._degree = np.full(n_items, 3.0)
        self._recent: dict[int, list[int]] = {}

    def top(self, user: int, seen: set[int], size: int, k: int, ts_ms: int) -> npt.NDArray[np.int64]:
        """The `k` unseen films with the highest blended score."""
        score = self._popular.scores()[:size]
        together = np.zeros(size)
        for place, item in enumerate(reversed(self._recent.get(user, []))):
            pairs = self._pairs[item]
            near = np.fromiter(pairs.keys(), np.int64, len(pairs))
            count = np.fromiter(pairs.values(), np.float64, len(pairs))
            together[near] += 0.8**place * count / np.sqrt(self._degree[item] * self._degree[near])
        highest = together.max(initial=0.0)
        if highest > 0:
            score = score / score.max() + 0.1 * together / highest
        return _best(score, seen, k)

    def learn(self, user: int, item: int, ts_ms: int) -> None:
        """Count the rating and its pairs with the user's last films."""
        self._popular.learn(user, item, ts_ms)
        last = self._recent.setdefault(user, [])
        for other in last[-5:]:
            self._pairs[item][other] = self._pairs[item].get(other, 0.0) + 1
            self._pairs[other][item] = self._pairs[other].get(item, 0.0) + 1
            self._degree[item] += 1
            self._degree[other] += 1
        last.append(item)
        del last[:-10]


def all_baselines(n_items: int, start_ms: int) -> dict[str, Baseline]:
    """The contestants beside Freshet, by the name they have in the table.

    Example:
        >>> list(all_baselines(10, 0))
        ['uniform', 'popular', 'popular_half_life', 'popular_cooccurrence']
    """
    return {
        "uniform": UniformBaseline(),
        "popular": PopularBaseline(n_items, start_ms),
        "popular_half_life": PopularBaseline(n_items, start_ms, _DAY_MS),
        "popular_cooccurrence": PopularCooccurrence(n_items, start_ms, _DAY_MS),
    }


def _best(scores: npt.NDArray[np.float64], seen: set[int], k: int) -> npt.NDArray[np.int64]:
    wanted = min(scores.size, k + len(seen))
    if wanted < scores.size:
        top = np.argpartition(-scores, wanted - 1)[:wanted] if wanted else np.empty(0, np.int64)
    else:
        top = np.arange(scores.size)
    return _unseen(top[np.argsort(-scores[top], kind="stable")], seen, k)


def _unseen(ranked: npt.NDArray[np.int64], seen: set[int], k: int) -> npt.NDArray[np.int64]:
    kept = [int(item) for item in ranked if int(item) not in seen]
    return np.array(kept[:k], np.int64)
