"""The closed loop: ask before learning, score, then click, in true time order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from freshet.data import Ratings
from freshet.demo.client import ApiClient
from freshet.demo.world import K, World
from monitor import Interval, LatencyWindow, bounded_interval
from stream.clock import Clock

__all__ = ["Contest", "DemoResult", "play"]

_DAY_MS = 86_400_000


@dataclass(slots=True)
class Contest:
    """Ratings that were foretold before they were learned: `hits` maps a contestant to 0/1 for each."""

    hits: dict[str, npt.NDArray[np.int8]]
    ts_ms: npt.NDArray[np.int64]

    @property
    def events(self) -> int:
        """How many."""
        return int(self.ts_ms.size)

    def rate(self, name: str) -> Interval:
        """hit@20 of one contestant with its interval."""
        return bounded_interval(self.hits[name], 0.0, 1.0)

    def minus(self, name: str) -> Interval:
        """Freshet's hit@20 minus that of a baseline, paired by event."""
        return bounded_interval(self.hits["freshet"] - self.hits[name], -1.0, 1.0)


@dataclass(slots=True)
class DemoResult(Contest):
    """What was played through the API."""

    seconds: float = 0.0
    fresh_slates: int = 0
    fresh_hits: int = 0
    stale_answers: int = 0
    fallbacks: int = 0
    freshness: LatencyWindow = field(default_factory=lambda: LatencyWindow(200_000))
    answer: LatencyWindow = field(default_factory=lambda: LatencyWindow(200_000))


def play(
    log: Ratings,
    client: ApiClient,
    clock: Clock,
    on_event: Callable[[int, DemoResult], None] = lambda _index, _result: None,
    *,
    world: World | None = None,
    start: int = 0,
) -> DemoResult:
    """Play the ratings of `log` from `start` on, which `world` has come to, through the API of a running
    Freshet and through the baselines.

    For each: ask for 20 films the user has not rated; it is a hit when the rated film is among them; then
    send one click, attributed on a hit and organic on a miss. A film's `item` event follows its first rating.
    """
    world = World(log) if world is None else world
    ts_ms = np.asarray(log.ts_ms[start:], np.int64)
    hits = {name: np.zeros(ts_ms.size, np.int8) for name in (*world.baselines, "freshet")}
    result = DemoResult(hits, ts_ms)
    started = clock.monotonic_s()
    accepted_at, accepted_s = 0, started
    for place in range(ts_ms.size):
        index = start + place
        user, ts = log.users[index], log.ts_ms[index]
        asked_s = clock.monotonic_s()
        answer = client.recommend(user_id=user, k=K, ts=ts, after=accepted_at)
        now_s = clock.monotonic_s()
        result.answer.add((now_s - asked_s) * 1e3)
        if place and not answer["stale"]:
            result.freshness.add((now_s - accepted_s) * 1e3)
        hit = _score(world, result, place, index, answer)
        events = world.events(index, answer["request_id"] if hit else None)
        accepted_at = client.events(events)["accepted_at"]
        accepted_s = clock.monotonic_s()
        world.learn(index)
        on_event(place, result)
    result.seconds = clock.monotonic_s() - started
    return result


def _score(world: World, result: DemoResult, place: int, index: int, answer: dict[str, Any]) -> bool:
    item, ts = world.log.items[index], world.log.ts_ms[index]
    shown = [entry["item_id"] for entry in answer["items"]]
    hit = item in shown
    result.hits["freshet"][place] = hit
    young = any(ts - world.entered.get(film, -_DAY_MS) < _DAY_MS for film in shown)
    result.fresh_slates += young
    result.fresh_hits += hit and ts - world.entered[item] < _DAY_MS
    result.stale_answers += answer["stale"]
    result.fallbacks += answer["fallback"] is not None
    for name, found in world.hits(index).items():
        result.hits[name][place] = found
    return hit
