"""What learners foretell on real logs of ratings: each click is predicted, then learned.

A seed takes a random half of the users, so that the interval says how much hangs on who happens to be
there, and the first 15,000 of their ratings: with all of them this part alone took more than half an hour.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from benchmarks.quality.rows import SEEDS, Row, shared_data, summary
from freshet.config import Settings
from freshet.data import load_movietweetings
from freshet.demo.baselines import Baseline, all_baselines
from freshet.offline import StateRecommender
from learning.pipeline import Pipeline
from replay import Prequential, drive
from replay.source import Entry, seen_items
from stream.events import Click

__all__ = ["rows"]

Int64 = npt.NDArray[np.int64]

_K = 20
_SCORED = 1_000  # clicks that are predicted, evenly over the log
_MOST = 15_000  # ratings that a seed plays
_KEY = b"a benchmark forgets nobody"
_SOURCES = {
    "Freshet, defaults": (),
    "factorisation alone (source index)": ("index",),
    "co-occurrence alone (source neighbours)": ("neighbours",),
    "popularity alone (source popular)": ("popular",),
}


class Log:
    """Ratings in the order of time: `users`, `items` dense numbers (n,), `ts` (n,) ms."""

    def __init__(self, users: Int64, items: Int64, ts: Int64) -> None:
        self.users, self.items, self.ts = users, items, ts

    def half(self, seed: int) -> Log:
        """The ratings of a random half of the users."""
        chosen = np.random.default_rng(seed).random(int(self.users.max()) + 1) < 0.5
        kept = chosen[self.users]
        return Log(self.users[kept], self.items[kept], self.ts[kept])

    def first(self, n: int) -> Log:
        """The first `n` ratings."""
        return Log(self.users[:n], self.items[:n], self.ts[:n])

    def clicks(self) -> Iterator[Entry]:
        """A click for each rating."""
        columns = (self.users.tolist(), self.items.tolist(), self.ts.tolist())
        for user, item, ts in zip(*columns, strict=True):
            yield Entry(Click(ts=ts, user_id=f"u{user}", item_id=f"i{item}"), ts)


def rows(quick: bool) -> list[Row]:
    """hit@20 of clicks before they are learned: Freshet, each learner's source alone, and plain baselines."""
    logs: dict[str, Callable[[], Log | None]] = {"MovieTweetings": _tweets, "MovieLens": _lens}
    found: list[Row] = []
    for name, load in logs.items():
        log = load()
        if log is None:
            continue
        if quick:  # the log that is always there, its beginning, and Freshet as it is
            return _rows_of(f"{name}, beginning", log.first(2_000), list(_SOURCES)[:1])
        found += _rows_of(name, log, list(_SOURCES))
    return found


def _rows_of(world: str, whole: Log, chosen: Sequence[str]) -> list[Row]:
    hits: dict[str, list[float]] = {}
    for seed in SEEDS:
        log = whole.half(seed).first(_MOST)
        every = max(len(log.ts) // _SCORED, 1)
        for name in chosen:
            sources = _SOURCES[name]
            hits.setdefault(name, []).append(_freshet(log, sources, seed, every))
        for name, share in _baselines(log, every).items():
            hits.setdefault(f"baseline {name}", []).append(share)
    return [summary(world, name, f"hit@{_K}", values) for name, values in hits.items()]


def _freshet(log: Log, sources: tuple[str, ...], seed: int, every: int) -> float:
    plain = Settings()
    settings = msgspec.structs.replace(
        plain,
        clock="event",
        sources=tuple({"kind": kind} for kind in sources),
        learn=msgspec.structs.replace(plain.learn, seed=seed, max_users=20_000, max_items=20_000),
    )
    pipeline = Pipeline(settings, _KEY)
    state = StateRecommender(pipeline.parts, settings.serve.sources, sources=settings.sources, seed=seed)
    scored = Prequential(state, k=_K, every=every)
    drive(pipeline, seen_items(log.clicks()), join=settings.join, observers=[scored])
    return float(np.mean(scored.result.hits))


def _baselines(log: Log, every: int) -> dict[str, float]:
    """The share of hits of each plain recommender on the same clicks; it names items seen before."""
    _, items = np.unique(log.items, return_index=True)
    order = np.argsort(items)  # numbers by first appearance, so that "the first n" are those seen so far
    number = np.empty(int(log.items.max()) + 1, np.int64)
    number[log.items[np.sort(items)]] = np.arange(order.size)
    found: dict[str, float] = {}
    for name, each in all_baselines(order.size, int(log.ts[0])).items():
        found[name] = _share(each, log, number, every)
    return found


def _share(baseline: Baseline, log: Log, number: Int64, every: int) -> float:
    clicked: dict[int, set[int]] = {}
    hits, size = [], 0
    columns = (log.users.tolist(), number[log.items].tolist(), log.ts.tolist())
    for n, (user, item, ts) in enumerate(zip(*columns, strict=True)):
        seen = clicked.setdefault(user, set())
        if n % every == 0:
            hits.append(size > 0 and item in baseline.top(user, seen, size, _K, ts))
        baseline.learn(user, item, ts)
        seen.add(item)
        size = max(size, item + 1)
    return float(np.mean(hits))


@cache
def _tweets() -> Log:
    log = load_movietweetings()
    return Log(_numbers(log.users), _numbers(log.items), np.asarray(log.ts_ms, np.int64))


@cache
def _lens() -> Log | None:
    folder = shared_data("movielens_latest_small")
    if folder is None:
        return None
    table = pq.read_table(folder / "events.parquet").sort_by("ts")
    columns = [table[name].to_numpy() for name in ("user_id", "item_id", "ts")]
    return Log(_numbers(columns[0]), _numbers(columns[1]), columns[2].astype(np.int64) * 1_000)


def _numbers(names: npt.ArrayLike) -> Int64:
    return np.unique(np.asarray(names), return_inverse=True)[1].astype(np.int64)
