"""The closed loop: ask before learning, score, then click, in true time order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from freshet.data import Ratings
from freshet.demo.baselines import Baseline, all_baselines
from freshet.demo.client import ApiClient
from monitor import Interval, LatencyWindow, bounded_interval
from stream.clock import Clock

__all__ = ["DemoResult", "play"]

K = 20
_DAY_MS = 86_400_000


@dataclass(slots=True)
class DemoResult:
    """What one run saw. `hits` maps a contestant to 0/1 per event, in event order."""

    events: int
    hits: dict[str, npt.NDArray[np.int8]]
    ts_ms: npt.NDArray[np.int64]
    seconds: float = 0.0
    fresh_slates: int = 0
    fresh_hits: int = 0
    stale_answers: int = 0
    fallbacks: int = 0
    freshness: LatencyWindow = field(default_factory=lambda: LatencyWindow(200_000))
    answer: LatencyWindow = field(default_factory=lambda: LatencyWindow(200_000))

    def rate(self, name: str) -> Interval:
        """hit@20 of one contestant with its interval."""
        return bounded_interval(self.hits[name], 0.0, 1.0)

    def minus(self, name: str) -> Interval:
        """Freshet's hit@20 minus that of a baseline, paired by event."""
        return bounded_interval(self.hits["freshet"] - self.hits[name], -1.0, 1.0)


def play(
    log: Ratings,
    client: ApiClient,
    clock: Clock,
    on_event: Callable[[int, DemoResult], None] = lambda _index, _result: None,
) -> DemoResult:
    """Play every rating of `log` through the API of a running Freshet and through the baselines.

    For each: ask for 20 films the user has not rated; it is a hit when the rated film is among them; then
    send one click, attributed on a hit and organic on a miss. A film's `item` event follows its first rating.
    """
    world = _World(log)
    result = DemoResult(
        events=len(log),
        hits={name: np.zeros(len(log), np.int8) for name in (*world.baselines, "freshet")},
        ts_ms=np.asarray(log.ts_ms, np.int64),
    )
    started = clock.monotonic_s()
    accepted_at, accepted_s = 0, started
    for index in range(len(log)):
        user, item, ts = log.users[index], log.items[index], log.ts_ms[index]
        asked_s = clock.monotonic_s()
        answer = client.recommend(user_id=user, k=K, ts=ts, after=accepted_at)
        now_s = clock.monotonic_s()
        result.answer.add((now_s - asked_s) * 1e3)
        if index and not answer["stale"]:
            result.freshness.add((now_s - accepted_s) * 1e3)
        _score(world, result, index, answer)
        accepted_at = client.events(
            world.events(index, answer["request_id"], bool(result.hits["freshet"][index]))
        )["accepted_at"]
        accepted_s = clock.monotonic_s()
        world.learn(user, item, ts)
        on_event(index, result)
    result.seconds = clock.monotonic_s() - started
    return result


def _score(world: _World, result: DemoResult, index: int, answer: dict[str, Any]) -> None:
    item, ts = world.log.items[index], world.log.ts_ms[index]
    shown = [entry["item_id"] for entry in answer["items"]]
    hit = item in shown
    result.hits["freshet"][index] = hit
    young = any(ts - world.entered.get(film, -_DAY_MS) < _DAY_MS for film in shown)
    result.fresh_slates += young
    result.fresh_hits += hit and ts - world.entered[item] < _DAY_MS
    result.stale_answers += answer["stale"]
    result.fallbacks += answer["fallback"] is not None
    for name, slate in world.slates(world.log.users[index], ts).items():
        result.hits[name][index] = world.number.get(item, -1) in slate


class _World:
    """Who has rated what, which films are in the catalogue, and the baselines."""

    def __init__(self, log: Ratings) -> None:
        self.log = log
        self.entered: dict[str, int] = {}
        self.number: dict[str, int] = {}
        self._users: dict[str, int] = {}
        self._seen: list[set[int]] = []
        self.baselines: dict[str, Baseline] = all_baselines(len(set(log.items)), log.ts_ms[0])

    def slates(self, user: str, ts_ms: int) -> dict[str, npt.NDArray[np.int64]]:
        number = self._user(user)
        size, seen = len(self.number), self._seen[number]
        return {name: line.top(number, seen, size, K, ts_ms) for name, line in self.baselines.items()}

    def events(self, index: int, request_id: str, hit: bool) -> list[dict[str, Any]]:
        item, ts = self.log.items[index], self.log.ts_ms[index]
        click: dict[str, Any] = {"type": "click", "ts": ts, "item_id": item, "user_id": self.log.users[index]}
        if hit:
            click["request_id"] = request_id
        if item in self.entered:
            return [click]
        title = self.log.titles.get(item, item)
        return [click, {"type": "item", "item_id": item, "ts": ts, "attributes": {"title": title}}]

    def learn(self, user: str, item: str, ts_ms: int) -> None:
        number = self._user(user)
        if item not in self.number:
            self.number[item] = len(self.number)
            self.entered[item] = ts_ms
        film = self.number[item]
        self._seen[number].add(film)
        for line in self.baselines.values():
            line.learn(number, film, ts_ms)

    def _user(self, user: str) -> int:
        if user not in self._users:
            self._users[user] = len(self._users)
            self._seen.append(set())
        return self._users[user]
