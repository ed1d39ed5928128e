"""New items at 0, 1 and 5 events, with their content and without: planted attributes, and MovieLens' genres.

Old items have been clicked for a while when the new ones enter. Each user's list is asked for before any of
them was clicked, after one click on each, and after five; it is the answer of the whole system, with old and
new items in it. What users click of the new ones later is known: that is what a list is held against.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pyarrow.parquet as pq

from benchmarks.quality.rows import SEEDS, Row, shared_data, summary
from freshet.config import Settings
from freshet.offline import StateRecommender
from learning.pipeline import Pipeline
from stream.blocks import Slate
from stream.events import Click, ItemEvent

__all__ = ["WITH_CONTENT", "Case", "planted", "rows"]

_K = 20
_STAGES = (0, 1, 5)
_KEY = b"a benchmark forgets nobody"
_T0, _STEP_MS = 1_700_000_000_000, 1_000
_BATCH = 250  # events between two ticks

WITH_CONTENT: Mapping[str, Any] = {
    "learners": ({"kind": "content_map"},),
    "scorers": tuple(
        {"kind": kind} for kind in ("popular", "together", "together_by_history", "taste", "hybrid")
    ),
    "sources": tuple(
        {"kind": kind} for kind in ("index", "neighbours", "graph", "popular", "fresh", "hybrid")
    ),
}
"""The defaults, and what reads content beside them."""

_TRIED: Mapping[str, Mapping[str, Any]] = {
    "with content": WITH_CONTENT,
    "without": {},
    # The scorer weighs the taste of old items, too: what it earns where no item has an attribute that counts.
    "without, weighed alike": {
        **WITH_CONTENT,
        "learners": ({"kind": "content_map", "attributes": ("nobody has this",)},),
    },
}

_Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Case:
    """One world, with old items and new ones.

    `old` and `new` map items to attributes; `past` are clicks (user, item) on old items, in order; `later`
    are those on new ones. `rate` is what a user would click (user, item), where that is known.
    """

    old: Mapping[str, Mapping[str, Any]]
    new: Mapping[str, Mapping[str, Any]]
    past: Sequence[_Pair]
    later: Sequence[_Pair]
    rate: Callable[[str, str], float] | None = None


def rows(quick: bool) -> list[Row]:
    """hit@20 of later clicks on new items, what 100 places of a list are worth, and how right new items are
    ordered."""
    if quick:  # the order alone: few users are shown few new items, and a band around that holds nothing
        tried = list(_TRIED)[:2]
        small = _rows_of(
            "new items, planted, small", lambda seed: planted(seed, n_users=60, n_old=100), tried
        )
        return [row for row in small if row.metric.startswith("AUC")]
    return _rows_of("new items, planted", planted) + _rows_of("new items, MovieLens", _lens)


def _rows_of(
    world: str, make: Callable[[int], Case | None], tried: Sequence[str] = tuple(_TRIED)
) -> list[Row]:
    figures: dict[tuple[str, str], list[float]] = {}
    for seed in SEEDS:
        case = make(seed)
        if case is None:
            return []
        for name in tried:
            for key, value in _figures(case, _TRIED[name], seed, name).items():
                figures.setdefault(key, []).append(value)
    return [summary(world, name, metric, values) for (name, metric), values in figures.items()]


def _figures(case: Case, more: Mapping[str, Any], seed: int, name: str) -> dict[tuple[str, str], float]:
    plain = Settings()
    learn = msgspec.structs.replace(plain.learn, seed=seed, max_users=20_000, max_items=20_000)
    settings = msgspec.structs.replace(plain, clock="event", learn=learn, **more)
    world = _World(settings, seed)
    world.put(case.old)
    world.click(case.past)
    world.put(case.new)
    found: dict[tuple[str, str], float] = {}
    waits, first = _first_clicks(case.later)
    for n in _STAGES:
        world.click([pair for pair, place in first if place < n])
        first = [(pair, place) for pair, place in first if place >= n]
        hit, worth = world.asked(waits, case.rate)
        after = f"after {n} click{'' if n == 1 else 's'}"
        found[name, f"hit@{_K} {after}"] = hit
        found[name, f"clicks on 100 places {after}"] = 100 * worth
        found[name, f"AUC among new items {after}"] = world.order(waits, list(case.new))
    return found


def _first_clicks(later: Sequence[_Pair]) -> tuple[list[_Pair], list[tuple[_Pair, int]]]:
    """The clicks that lists are held against, and those that are learned, each with its place in its item."""
    seen: dict[str, int] = {}
    held, learned = [], []
    for pair in later:
        place = seen[pair[1]] = seen.get(pair[1], -1) + 1
        if place < max(_STAGES):
            learned.append((pair, place))
        else:
            held.append(pair)
    return held, learned


class _World:
    """The whole system offline, on a clock that moves with each event."""

    def __init__(self, settings: Settings, seed: int) -> None:
        self._pipeline = Pipeline(settings, _KEY)
        self._state = StateRecommender(
            self._pipeline.parts, settings.serve.sources, sources=settings.sources, seed=seed
        )
        self._now = _T0

    def put(self, items: Mapping[str, Mapping[str, Any]]) -> None:
        self._learn([ItemEvent(item_id=item, ts=0, attributes=dict(said)) for item, said in items.items()])

    def click(self, pairs: Sequence[_Pair]) -> None:
        self._learn([Click(user_id=user, item_id=item, ts=0) for user, item in pairs])

    def _learn(self, events: Sequence[Any]) -> None:
        for first in range(0, len(events), _BATCH):
            batch = []
            for event in events[first : first + _BATCH]:
                self._now += _STEP_MS
                batch.append(msgspec.structs.replace(event, ts=self._now))
            self._pipeline.on_events(batch)
            self._now += 60_000
            self._pipeline.on_tick(self._now)

    def asked(self, held: Sequence[_Pair], rate: Callable[[str, str], float] | None) -> tuple[float, float]:
        """The share of held clicks whose item is in the user's list, and what its places are worth."""
        wanted: dict[str, set[str]] = {}
        for user, item in held:
            wanted.setdefault(user, set()).add(item)
        hits, worth = 0, []
        for user, items in wanted.items():
            shown = self._state.recommend(user, _K, self._now)
            hits += len(items & set(shown))
            worth += [float(item in items) if rate is None else rate(user, item) for item in shown]
        return hits / sum(map(len, wanted.values())), float(np.mean(worth))

    def order(self, held: Sequence[_Pair], new: Sequence[str]) -> float:
        """The share of other new items that score below a held one, equal ones by half; mean over users."""
        number = {item: n for n, item in enumerate(new)}
        wanted: dict[str, list[int]] = {}
        for user, item in held:
            wanted.setdefault(user, []).append(number[item])
        shares = []
        for user, items in wanted.items():
            asked = Slate(request_id=user, user_id=user, ts=self._now, items=list(new), decided=True)
            scores = self._state.scores(asked, self._now)
            mine, others = scores[items], np.delete(scores, items)
            below = (mine[:, None] > others).mean() + 0.5 * (mine[:, None] == others).mean()
            shares.append(float(below))
        return float(np.mean(shares))


def planted(seed: int, *, n_users: int = 300, n_old: int = 300, n_new: int = 60, dim: int = 6) -> Case:
    """Items are what their attributes say, and a little more; users click what fits them.

    An item's taste is the sum of those of its two genres, its maker and its length, and noise of a third of
    its size; items differ in how much they are clicked at all.
    """
    rng = np.random.default_rng(seed)
    of_genre, of_maker = rng.normal(size=(12, dim)), rng.normal(size=(8, dim))
    of_length = rng.normal(size=dim)
    genres = np.array([rng.choice(12, 2, replace=False) for _ in range(n_old + n_new)])
    makers, lengths = rng.integers(8, size=n_old + n_new), rng.integers(1, 200, size=n_old + n_new)
    taste = of_genre[genres].sum(1) + of_maker[makers] + np.log(lengths / 50)[:, None] * of_length
    taste /= np.sqrt((taste**2).sum(1).mean() / dim)
    taste += rng.normal(size=taste.shape) / 3
    users, known = rng.normal(size=(n_users, dim)), rng.normal(size=n_old + n_new) / 2
    scores = 2.0 * users @ taste.T / np.sqrt(dim) + known
    names = [f"i{n}" for n in range(n_old + n_new)]
    said = {
        name: {"genres": [f"g{g}" for g in of], "maker": f"m{maker}", "length": int(length)}
        for name, of, maker, length in zip(names, genres, makers, lengths, strict=True)
    }
    chosen = _chosen(scores, rng)  # what each user likes best comes first, more or less
    past = [(f"u{u}", names[i]) for u in range(n_users) for i in chosen[u][chosen[u] < n_old][:40]]
    later = [(f"u{u}", names[i]) for u in range(n_users) for i in chosen[u][chosen[u] >= n_old][:10]]
    rates = 1 / (1 + np.exp(1.0 - scores))
    return Case(
        {name: said[name] for name in names[:n_old]},
        {name: said[name] for name in names[n_old:]},
        [past[n] for n in rng.permutation(len(past))],
        [later[n] for n in rng.permutation(len(later))],
        lambda user, item: float(rates[int(user[1:]), int(item[1:])]),
    )


def _chosen(scores: Any, rng: np.random.Generator) -> Any:
    """Items by user (U, n), drawn one after the other in proportion to exp(score)."""
    return np.argsort(-(scores + rng.gumbel(size=scores.shape)), axis=1)


def _lens(seed: int) -> Case | None:
    """A tenth of the films with twenty ratings or more are new; what is said of a film are its genres."""
    folder = shared_data("movielens_latest_small")
    if folder is None:
        return None
    events = pq.read_table(folder / "events.parquet")
    events = events.sort_by([(name, "ascending") for name in ("ts", "user_id", "item_id")])
    films = pq.read_table(folder / "items.parquet")
    genres = films["genres"].to_pylist()
    said = {
        f"i{film}": {"genres": of.split("|")}
        for film, of in zip(films["item_id"].to_pylist(), genres, strict=True)
    }
    columns = events["user_id"].to_pylist(), events["item_id"].to_pylist()
    pairs = [(f"u{user}", f"i{item}") for user, item in zip(*columns, strict=True)]
    counts: dict[str, int] = {}
    for _, item in pairs:
        counts[item] = counts.get(item, 0) + 1
    many = sorted(item for item, count in counts.items() if count >= 20)
    new = set(np.random.default_rng(seed).choice(many, len(many) // 10, replace=False).tolist())
    return Case(
        {item: said.get(item, {}) for item in counts if item not in new},
        {item: said.get(item, {}) for item in sorted(new)},
        [pair for pair in pairs if pair[1] not in new],
        [pair for pair in pairs if pair[1] in new],
    )
