"""The learning stages of Kafka's workers alone, from blocks: LEARN USERS, LEARN ITEMS and TRAIN; no broker.

JOIN has been at work before the clock runs: what is measured begins with the records of `feedback` and ends
with all that goes to `item-feedback`, `training`, `user-vectors`, `item-vectors`, `policy` and `control`, as
bytes.
Slates of 20 from 3,000 items, K = 4, 5 % of the shown items clicked, four partitions, one process and one
thread.
"""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Iterator, Sequence
from time import perf_counter, process_time
from typing import Any

import numpy as np

from freshet.config import Settings, load_settings
from learning.parts import build_parts
from learning.shards.items import ItemsShard
from learning.shards.join import JoinShard
from learning.shards.train import TrainShard
from learning.shards.users import UsersShard
from stream.clock import WallClock
from stream.codec import encode_events
from stream.engine.shard import Output, ShardStep, SourceRecord
from stream.engine.sweeper import Sweeper
from stream.events import Click, Decision, LoggedEvent, Tick
from stream.kafka.partitioning import partition_of

__all__ = ["run"]

_PARTITIONS, _SLATE, _OTHERS, _CLUSTERS = 4, 20, 20, 4
_N_ITEMS, _N_USERS = 3_000, 20_000
_CLICKS = 0.05
_T0, _GAP_MS = 1_700_000_000_000, 2
_BATCH = 2_000  # slates that JOIN commits at once, over all partitions
_WINDOW_MS, _LATENESS_MS = 2_000, 1_000


def _settings() -> Settings:
    join = {"window_ms": _WINDOW_MS, "lateness_ms": _LATENESS_MS}
    policy = {"context_clusters": _CLUSTERS}
    return load_settings(environ={}, flags={"join": join, "policy": policy})


def _home(name: str) -> int:
    return partition_of(name, _PARTITIONS)


def _events(n_slates: int, n_features: int) -> Iterator[list[LoggedEvent]]:
    """Decisions and their clicks, some hundred at a time, a tick behind each."""
    rng = np.random.default_rng(0)
    items = [f"item-{n:04d}" for n in range(_N_ITEMS)]
    share = 1.0 / np.arange(1, _N_ITEMS + 1) ** 0.8
    popular = np.cumsum(share / share.sum())
    for first in range(0, n_slates, _BATCH):
        batch: list[LoggedEvent] = []
        for number in range(first, first + _BATCH):
            ranks = np.unique(np.searchsorted(popular, rng.random(6 * _SLATE)))
            chosen = [items[rank] for rank in rng.permutation(ranks)[: _SLATE + _OTHERS]]
            ts, user = _T0 + number * _GAP_MS, f"user-{rng.integers(_N_USERS):05d}"
            decision = Decision(
                request_id=f"req-{number}", ts=ts, user_id=user, items=chosen[:_SLATE],
                propensities=[0.05] * _SLATE, policy="diag_lin_ucb",
                clusters=rng.choice(64, _CLUSTERS, replace=False).tolist(), weights=[0.4, 0.3, 0.2, 0.1],
                features=rng.random((len(chosen), n_features)).astype("<f4").tobytes(),
                others=chosen[_SLATE:], explored=[number % _SLATE],
            )  # fmt: skip
            places = np.flatnonzero(rng.random(_SLATE) < _CLICKS).tolist()
            clicks = (Click(ts=ts + 1, request_id=f"req-{number}", item_id=chosen[place]) for place in places)
            batch += [decision, *clicks]
        yield [*batch, Tick(ts=_T0 + (first + _BATCH) * _GAP_MS)]


def _join(batch: Sequence[LoggedEvent], joins: Sequence[JoinShard], offset: int) -> list[list[Output]]:
    """What one batch of events becomes in `feedback`, by partition."""
    by_home: dict[int, list[LoggedEvent]] = defaultdict(list)
    for event in batch:
        if isinstance(event, Tick):
            for mine in by_home.values():
                mine.append(event)
        elif isinstance(event, Decision | Click):
            by_home[_home(str(event.request_id))].append(event)
    out: list[list[Output]] = [[] for _ in joins]
    for number, mine in by_home.items():
        joins[number].on_records([SourceRecord(offset, encode_events(mine))])
        for output in joins[number].take():
            out[output.partition].append(output)
    return out


def _records(outputs: Sequence[Output], topic: str) -> list[SourceRecord]:
    return [SourceRecord(n, o.value or b"") for n, o in enumerate(outputs) if o.topic == topic]


class _Stages:
    """All stages of all partitions, and the seconds that each has taken."""

    def __init__(self, settings: Settings) -> None:
        self.users = [UsersShard(p, _home, settings, _PARTITIONS) for p in range(_PARTITIONS)]
        self.items = [ItemsShard(q, _home, settings, _PARTITIONS) for q in range(_PARTITIONS)]
        self.train = TrainShard(0, settings, _PARTITIONS)
        self.clear()

    def clear(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.n_bytes: dict[str, int] = defaultdict(int)

    def learn(self, feedback: list[list[SourceRecord]]) -> None:
        """Learn what lies in each partition of `feedback`."""
        waiting: list[list[Output]] = [[] for _ in self.items]
        lists: list[Output] = []
        for shard, records in zip(self.users, feedback, strict=True):
            for output in self._step("users", shard, records):
                (lists if output.topic == "training" else waiting[output.partition]).append(output)
        for items, outputs in zip(self.items, waiting, strict=True):
            self._step("items", items, _records(outputs, "item-feedback"))
        self._step("train", self.train, _records(lists, "training"))

    def _step(self, name: str, shard: ShardStep, records: list[SourceRecord]) -> list[Output]:
        began = perf_counter()
        shard.on_records(records)
        learned = perf_counter()
        outputs = shard.take()
        self.seconds[f"{name} learn"] += learned - began
        self.seconds[f"{name} write"] += perf_counter() - learned
        for output in outputs:
            self.n_bytes[output.topic] += len(output.value or b"")
        return outputs


def run(quick: bool) -> list[dict[str, Any]]:
    """The figure, with the share of each stage."""
    settings = _settings()
    n_batches, n_warm = (6, 3) if quick else (20, 5)
    n_features = build_parts(settings).ranker.n_features
    joins = [
        JoinShard(e, _home, settings.join, n_partitions=_PARTITIONS, tick_ms=settings.engine.tick_ms)
        for e in range(_PARTITIONS)
    ]
    batches = [
        [_records(outputs, "feedback") for outputs in _join(batch, joins, n)]
        for n, batch in enumerate(_events((n_warm + n_batches) * _BATCH, n_features))
    ]
    stages = _Stages(settings)
    for batch in batches[:n_warm]:
        stages.learn(batch)
    stages.clear()
    gc.collect()
    gc.freeze()
    with Sweeper(WallClock()).in_charge() as sweeper:  # as in a worker
        cpu_s, wall_s = process_time(), perf_counter()
        for batch in batches[n_warm:]:
            stages.learn(batch)
            sweeper.sweep()
        cpu_s, wall_s = process_time() - cpu_s, perf_counter() - wall_s
    gc.unfreeze()
    n_shown = n_batches * _BATCH * _SLATE
    return [
        {
            "name": "kafka_learn_blocks",
            "value": n_shown / cpu_s,
            "unit": "shown items/s and core",
            "by_wall_clock": n_shown / wall_s,
            "shown": n_shown,
            "shares": {name: round(s / wall_s, 3) for name, s in stages.seconds.items()},
            "bytes_a_shown_item": {topic: round(n / n_shown, 1) for topic, n in stages.n_bytes.items()},
        }
    ]
