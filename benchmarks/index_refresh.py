"""Vectors refreshed while they are searched: intake, latency, and what recall it costs against a fresh build.

100,000 × 64 factors of MovieTweetings (implicit ALS, films repeated with jitter; planted clusters where the
data is absent). A refresh is a step of 2 % of the length in a random direction. Three figures for each rate:

* real time: rows fed at the rate, a thread asking, `Maintenance` linking with 30 % of a core;
* drift: the same proportion of linking to refreshing, fast-forwarded until every row has wandered by 30 %
  of its length, and at the higher rate by 100 %;
* fresh: hnswlib built on the final vectors, at the same breadth, asked the same.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from threading import Event, Thread
from typing import Any, NamedTuple

import hnswlib
import numpy as np
from numpy.typing import NDArray

from index import ExactIndex, LiveIndex, LiveSettings, Maintenance, warm_up
from stream.clock import WallClock
from stream.frame import Frame

__all__ = ["run"]

_EVENTS = Path(__file__).parent.parent / "freshet/data/movietweetings_100k/events.parquet"
_DIM = 64
_STEP = 0.02
_TICK_S = 0.01
_CLOCK = WallClock()
_RATES = (30_000, 100_000)

Floats = NDArray[np.float32]


class _Scale(NamedTuple):
    n_rows: int
    n_queries: int
    seconds: float  # real time at each rate
    drift: float  # how far every row wanders in the fast-forward, in lengths
    farther: float  # and at the higher rate, where that is quick, after it


_QUICK = _Scale(20_000, 200, 3.0, 0.1, 0.2)
_FULL = _Scale(100_000, 500, 20.0, 0.3, 1.0)


def _unit(x: NDArray[Any]) -> Floats:
    """Rows scaled to unit length."""
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12), np.float32)


def _half_sweep(known: NDArray[Any], rows: NDArray[Any], columns: NDArray[Any], n: int) -> NDArray[Any]:
    """One side of implicit ALS (weight 11 on what was seen, 1 elsewhere, l2 0.1)."""
    order = np.argsort(rows, kind="stable")
    bounds = np.searchsorted(rows[order], np.arange(n + 1))
    gram = known.T @ known + 0.1 * np.eye(_DIM)
    found = np.zeros((n, _DIM))
    for i in range(n):
        seen = known[columns[order[bounds[i] : bounds[i + 1]]]]
        if len(seen):
            found[i] = np.linalg.solve(gram + 10 * seen.T @ seen, 11 * seen.sum(0))
    return found


def _factors(rng: np.random.Generator, n_sweeps: int) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """User and film factors of MovieTweetings, or None where it is absent."""
    if not _EVENTS.exists():
        return None
    from pyarrow.parquet import read_table

    table = read_table(_EVENTS, columns=["user_id", "item_id"])
    users = np.unique(table["user_id"].to_numpy(), return_inverse=True)[1]
    films = np.unique(table["item_id"].to_numpy(), return_inverse=True)[1]
    of_films = rng.normal(size=(films.max() + 1, _DIM)) * 0.1
    for _ in range(n_sweeps):
        of_users = _half_sweep(of_films, users, films, users.max() + 1)
        of_films = _half_sweep(of_users, films, users, films.max() + 1)
    return of_users, of_films


def _world(scale: _Scale, quick: bool) -> tuple[Floats, Floats, str]:
    """Vectors, queries, and where they are from."""
    rng = np.random.default_rng(0)
    factors = _factors(rng, 1 if quick else 4)
    if factors is None:
        centres = rng.normal(size=(200, _DIM))
        x = centres[rng.integers(0, 200, scale.n_rows + scale.n_queries)]
        planted = _unit(x + 0.5 * rng.normal(size=x.shape))
        return planted[: scale.n_rows], planted[scale.n_rows :], "planted clusters"
    users, films = factors
    x = films[rng.integers(0, len(films), scale.n_rows)]
    x = x + 0.2 * np.linalg.norm(x, axis=1, keepdims=True) / np.sqrt(_DIM) * rng.normal(size=x.shape)
    return _unit(x), _unit(users[rng.choice(len(users), scale.n_queries, replace=False)]), "MovieTweetings"


def _hnswlib(vectors: Floats, ef: int) -> Any:
    """The peer and reference: built whole, on all cores."""
    graph = hnswlib.Index("ip", _DIM)
    graph.init_index(len(vectors), M=16, ef_construction=200)
    graph.add_items(vectors, num_threads=-1)
    graph.set_ef(ef)
    graph.set_num_threads(1)
    return graph


class _Recalls(NamedTuple):
    live: float
    fresh: float


def _recalls(index: LiveIndex, vectors: Floats, queries: Floats, fresh: Any) -> _Recalls:
    """recall@10 of the live index and of hnswlib against brute force."""
    oracle = ExactIndex(_DIM, len(vectors))
    oracle.upsert(np.arange(len(vectors)), vectors)
    live, built = [], []
    for query in queries:
        true = oracle.search(query, 10).rows
        live.append(np.intersect1d(index.search(query, 10).rows, true).size / 10)
        built.append(np.intersect1d(fresh.knn_query(query, k=10)[0][0], true).size / 10)
    return _Recalls(float(np.mean(live)), float(np.mean(built)))


def _latencies(ask: Any, queries: Floats) -> NDArray[np.float64]:
    """Microseconds of each of some hundreds of single queries, one after the other."""
    took = []
    for query in queries:
        began_s = _CLOCK.monotonic_s()
        ask(query)
        took.append((_CLOCK.monotonic_s() - began_s) * 1e6)
    return np.array(took)


class _Steps:
    """Random unit directions, drawn once: the feeder must not be busy drawing."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._pool = _unit(rng.normal(size=(1 << 16, _DIM)))

    def move(self, vectors: Floats, length: float) -> Floats:
        """Each of `vectors` (n, 64) a step of `length` on, at unit length again."""
        start = int(self._rng.integers(0, len(self._pool)))
        picked = (np.arange(len(vectors)) + start) % len(self._pool)
        return _unit(vectors + np.float32(length) * self._pool[picked])


def _real_time(
    index: LiveIndex, vectors: Floats, queries: Floats, rate: int, seconds: float, steps: _Steps
) -> dict[str, float]:
    """Feed `rate` rows a second for `seconds` while a thread asks every 10 ms; `vectors` move along."""
    took: list[float] = []
    stop = Event()

    def ask() -> None:
        i = 0
        while not stop.wait(_TICK_S):
            took.extend(_latencies(lambda q: index.search(q, 10), queries[i % len(queries)][None]).tolist())
            i += 1

    order = np.random.default_rng(1).permutation(len(vectors)).astype(np.int32)
    maintenance = Maintenance(index, share=0.3, floor=0.0)
    relinked = index.relinker.n_relinked
    asking = Thread(target=ask)
    maintenance.start()
    asking.start()
    began_s = _CLOCK.monotonic_s()
    n_fed = 0
    while (elapsed := _CLOCK.monotonic_s() - began_s) < seconds:
        # A hundredth more, for the last tick feeds what was due at its beginning.
        due = min(int(1.01 * rate * elapsed) - n_fed, len(order))
        if due > 0:
            rows = order[np.arange(n_fed, n_fed + due) % len(order)]
            vectors[rows] = steps.move(vectors[rows], _STEP)
            index.upsert(rows, vectors[rows])
            n_fed += due
        stop.wait(_TICK_S)
    elapsed = _CLOCK.monotonic_s() - began_s
    stop.set()
    asking.join()
    maintenance.stop()
    return {
        "rate": n_fed / elapsed,
        "relinked": (index.relinker.n_relinked - relinked) / elapsed,
        "p50": float(np.percentile(took, 50)),
        "p99": float(np.percentile(took, 99)),
    }


def _fast_forward(
    index: LiveIndex, vectors: Floats, rate: float, linking: float, drift: tuple[float, float], steps: _Steps
) -> None:
    """Move every row on until it has wandered from `drift[0]` to `drift[1]`, linking `linking` rows for every
    `rate` refreshes.

    In jumps of a quarter of the linker's round: n refreshes of 2 % make a step of 2 % √n.
    """
    n = len(vectors)
    refreshes = rate * (n / linking / 4) / n
    squares = (drift[1] ** 2 - drift[0] ** 2) / _STEP**2
    for _ in range(max(4, round(squares / refreshes))):
        vectors[:] = steps.move(vectors, _STEP * float(np.sqrt(refreshes)))
        index.upsert(np.arange(n), vectors)
        index.relinker.run(budget_rows=n // 4)


def _search_rows(index: LiveIndex, vectors: Floats, queries: Floats, ef: int) -> list[dict[str, Any]]:
    fresh = _hnswlib(vectors, ef)
    recall = _recalls(index, vectors, queries, fresh)
    live = _latencies(lambda q: index.search(q, 10), queries)
    peer = _latencies(lambda q: fresh.knn_query(q, k=10), queries)
    common = {"unit": "us", "rows": len(vectors), "dim": _DIM, "ef": ef, "k": 10}
    return [
        {
            "name": "index_search",
            "value": float(np.median(live)),
            "p99": float(np.percentile(live, 99)),
            "recall": recall.live,
            "peer": "hnswlib",
            "peer_value": float(np.median(peer)),
            "peer_p99": float(np.percentile(peer, 99)),
            "peer_recall": recall.fresh,
            **common,
        },
        {"name": "index_memory_per_row", "value": index.bytes_per_row(), "unit": "bytes", "dim": _DIM},
    ]


def _refresh_rows(
    built: Frame, start: Floats, queries: Floats, rate: int, scale: _Scale, settings: LiveSettings
) -> list[dict[str, Any]]:
    """Both runs at one rate, on an index of their own."""
    steps = _Steps(np.random.default_rng(rate))
    vectors = start.copy()
    index = LiveIndex(_DIM, len(vectors), settings, background=True)
    index.restore(built)
    figures = _real_time(index, vectors, queries, rate, scale.seconds, steps)
    now = _recalls(index, vectors, queries, _hnswlib(vectors, settings.ef))
    linking = max(1.0, figures["relinked"])
    tag = {"target_rate": rate, "rows": len(vectors), "linker_share": 0.3}
    drifted, before = [], 0.0
    for drift in (scale.drift, scale.farther)[: 1 + (rate == _RATES[-1])]:
        _fast_forward(index, vectors, figures["rate"], linking, (before, drift), steps)
        far, before = _recalls(index, vectors, queries, _hnswlib(vectors, settings.ef)), drift
        loss = {"value": far.fresh - far.live, "live": far.live, "fresh": far.fresh, "drift": drift}
        drifted.append({"name": "index_refresh_recall_loss_drifted", "unit": "recall@10", **loss, **tag})
    return [
        {"name": "index_refresh", "value": figures["rate"], "unit": "refreshes/s", **tag, **figures},
        {
            "name": "index_refresh_recall_loss",
            "value": now.fresh - now.live,
            "unit": "recall@10",
            "live": now.live,
            "fresh": now.fresh,
            **tag,
        },
        *drifted,
        {"name": "index_query_p50", "value": figures["p50"], "unit": "us", **tag},
        {"name": "index_query_p99", "value": figures["p99"], "unit": "us", **tag},
    ]


def run(quick: bool) -> list[dict[str, Any]]:
    """All figures: some 40 s when `quick` (20,000 rows, short), some minutes else."""
    scale = _QUICK if quick else _FULL
    warm_up()
    vectors, queries, source = _world(scale, quick)
    settings = LiveSettings(build_threads=2)
    still = LiveIndex(_DIM, len(vectors), settings, background=True)
    still.upsert(np.arange(len(vectors)), vectors)
    still.rebuild()
    built = still.snapshot()
    found = _search_rows(still, vectors, queries, settings.ef)
    for rate in _RATES:
        found += _refresh_rows(built, vectors, queries, rate, scale, settings)
    return [{**row, "data": source} for row in found]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    for line in run(parser.parse_args().quick):
        print(json.dumps(line))
