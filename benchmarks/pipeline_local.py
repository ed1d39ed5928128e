"""The learning path of the embedded engine: JSON in a log → join, learn users and items → changed rows,
committed.

Everything between the log and the commit is the running system's own: `LocalEngine` over a log in memory, the
whole `Pipeline` (vectors, popularity, co-occurrence, histories, ranker, Diag-LinUCB with K = 4), and a
`CommitLog` in SQLite. Slates of 20 from 100,000 items with Zipf popularity, a click an impression some
seconds later, ids as text; time goes on fast enough that windows close at the rate at which they open. One
process, one thread.
"""

from __future__ import annotations

import gc
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np

import learning.pipeline
import stream.engine.driver
from freshet.config import Settings, load_settings
from learning.pipeline import Pipeline
from stream.clock import WallClock
from stream.codec import encode_events
from stream.commits import CommitLog
from stream.engine import LocalEngine, SnapshotStore
from stream.events import Click, Decision, ItemEvent
from stream.log import MemoryLog, Record

__all__ = ["run"]

_N_ITEMS, _N_USERS, _TOPICS = 100_000, 100_000, 16
_SLATE, _OTHERS, _CLUSTERS = 20, 20, 4
_GAP_MS = 1
_WINDOW_MS, _LATENESS_MS = 2_000, 1_000
_WARM = 4_000
_CLICKS_A_RECORD = 64


def _zipf(n: int, exponent: float) -> np.ndarray[Any, Any]:
    weights = 1.0 / np.arange(1, n + 1) ** exponent
    return np.cumsum(weights / weights.sum())


class _World:
    """Slates of one topic each: its popular items, its clusters, a user by Zipf."""

    def __init__(self, rng: np.random.Generator, n_features: int) -> None:
        self._rng, self._n_features = rng, n_features
        self.items = [str(name) for name in rng.choice(9_000_000, _N_ITEMS, replace=False) + 1_000_000]
        self._users = [f"u{name:06d}" for name in rng.permutation(900_000)[:_N_USERS]]
        self._popular = _zipf(_N_ITEMS // _TOPICS, 0.9)
        self._active = _zipf(_N_USERS, 0.7)

    def decision(self, number: int, n_others: int) -> Decision:
        rng, topic = self._rng, int(self._rng.integers(_TOPICS))
        n = _SLATE + n_others
        ranks = np.unique(np.searchsorted(self._popular, rng.random(4 * n)))
        ranks = rng.permutation(ranks)[:n]
        items = [self.items[int(rank) * _TOPICS + topic] for rank in ranks]
        features = rng.random((n, self._n_features)).astype("<f4").tobytes() if n_others else b""
        return Decision(
            request_id=f"req-{number * 2654435761 % (1 << 48):012x}",
            ts=number * _GAP_MS,
            user_id=self._users[int(np.searchsorted(self._active, rng.random()))],
            items=items[:_SLATE],
            propensities=(rng.random(_SLATE) * 0.09 + 0.01).tolist(),
            policy="diag_lin_ucb",
            clusters=[topic * _CLUSTERS + c for c in range(_CLUSTERS)],
            weights=rng.dirichlet(np.ones(_CLUSTERS)).tolist(),
            features=features,
            others=items[_SLATE:],
            sources=["graph"] * _SLATE,
            scores=rng.random(_SLATE).tolist(),
            explored=[int(rng.integers(_SLATE))],
        )

    def records(self, n_slates: int, n_others: int) -> Iterator[Record]:
        """A record a decision, as `recommend` logs it; clicks in bundles, as the gateway does."""
        rng = self._rng
        waiting: list[tuple[int, Click]] = []
        for number in range(n_slates):
            decision = self.decision(number, n_others)
            yield Record("decision", encode_events([decision]), decision.ts, request_id=decision.request_id)
            ts = decision.ts + int(rng.integers(50, 1_500))
            item_id = decision.items[int(rng.integers(len(decision.items)))]
            waiting.append((ts, Click(ts=ts, item_id=item_id, request_id=decision.request_id)))
            if number % _CLICKS_A_RECORD == 0:
                due = [click for at, click in waiting if at <= decision.ts]
                waiting = [entry for entry in waiting if entry[0] > decision.ts]
                if due:
                    yield Record("events", encode_events(due), decision.ts)


class _Stopwatch:
    """Seconds spent in the parts of the path, by wrapping their functions for one run."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._undo: list[Callable[[], None]] = []

    def wrap(self, owner: Any, attribute: str, name: str) -> None:
        original = getattr(owner, attribute)

        def timed(*args: Any, **kwargs: Any) -> Any:
            began = perf_counter()
            try:
                return original(*args, **kwargs)
            finally:
                self.seconds[name] += perf_counter() - began

        setattr(owner, attribute, timed)
        self._undo.append(lambda: setattr(owner, attribute, original))

    def watch(self, pipeline: Pipeline, commits: CommitLog) -> None:
        """Put a watch on everything that a batch goes through."""
        self.wrap(stream.engine.driver, "decode_learned", "decode")
        self.wrap(learning.pipeline, "encode_rows", "encode")
        self.wrap(commits, "commit", "commit")
        self.wrap(pipeline, "take", "take")
        joiner = pipeline.joiners[False]
        for method in ("on_events", "on_tick", "take"):
            self.wrap(joiner, method, "join")
        parts = pipeline.parts
        for name, part in parts.named().items():
            if hasattr(part, "learn"):
                self.wrap(part, "learn", f"learn {name}")

    def close(self) -> None:
        for undo in reversed(self._undo):
            undo()


def _settings() -> Settings:
    join = {"window_ms": _WINDOW_MS, "lateness_ms": _LATENESS_MS}
    flags = {"clock": "event", "join": join, "policy": {"context_clusters": _CLUSTERS}}
    return load_settings(environ={}, flags=flags)


def _engine(log: MemoryLog, folder: Path) -> tuple[LocalEngine, Pipeline, CommitLog]:
    settings = _settings()
    pipeline, commits = Pipeline(settings, b"a key for the benchmark only"), CommitLog(folder / "learner.db")
    store = SnapshotStore(folder / "snapshots")
    engine = LocalEngine(
        pipeline, {"events-0": log}, commits, store, clock=WallClock(), mode="event", settings=settings.engine
    )
    return engine, pipeline, commits


def _measure(n_slates: int, n_others: int, *, watched: bool) -> dict[str, Any]:
    """CPU and wall seconds over the last nine tenths of the slates; the first tenth warms tables and
    kernels."""
    log, rng = MemoryLog(), np.random.default_rng(0)
    probe = Pipeline(_settings(), b"a key for the benchmark only")
    world = _World(rng, probe.parts.ranker.n_features)
    items = [ItemEvent(item_id=name, ts=0) for name in world.items]
    log.append([Record("events", encode_events(items[n : n + 500]), 0) for n in range(0, _N_ITEMS, 500)])
    records = list(world.records(_WARM + n_slates, n_others))
    at = next(n for n, record in enumerate(records) if record.accepted_at >= _WARM * _GAP_MS)
    log.append(records[:at])
    rest = records[at:]
    n_bytes = sum(len(record.body) for record in rest)
    n_shown = _SLATE * sum(record.kind == "decision" for record in rest)
    with tempfile.TemporaryDirectory() as folder:
        engine, pipeline, commits = _engine(log, Path(folder))
        while engine.run_once():
            continue
        watch = _Stopwatch()
        if watched:
            watch.watch(pipeline, commits)
        log.append(rest)
        gc.collect()
        gc.freeze()
        gc.disable()
        before, seq = dict(pipeline.joiners[False].counters), engine.seq
        cpu_s, wall_s = process_time(), perf_counter()
        while engine.run_once():
            continue
        cpu_s, wall_s = process_time() - cpu_s, perf_counter() - wall_s
        gc.enable()
        watch.close()
        after, n_commits = pipeline.joiners[False].counters, engine.seq - seq
        frame_bytes = commits.bytes_after(seq) / n_commits
        commits.close()
    shares = {name: round(s / wall_s, 3) for name, s in sorted(watch.seconds.items(), key=lambda e: -e[1])}
    return {
        "value": n_shown / cpu_s,
        "unit": "shown items/s and core",
        "by_wall_clock": n_shown / wall_s,
        "shown": n_shown,
        "clicks_joined": after["joined"] - before["joined"],
        "windows_closed": after["closed"] - before["closed"],
        "commits": n_commits,
        "frame_bytes_a_commit": frame_bytes,
        "bytes_a_shown_item": n_bytes / n_shown,
        **({"shares": shares} if watched else {}),
    }


def run(quick: bool) -> list[dict[str, Any]]:
    """The figure, the same without what the ranker needs (features, candidates not shown), and a profile."""
    n_slates = 6_000 if quick else 40_000
    whole = _measure(n_slates, _OTHERS, watched=False)
    bare = _measure(n_slates, 0, watched=False)
    profile = _measure(n_slates // 2, _OTHERS, watched=True)
    return [
        {"name": "pipeline_local", **whole, "shares": profile["shares"]},
        {"name": "pipeline_local_without_features", **bare},
    ]
