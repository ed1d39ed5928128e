"""The ratings as a world to play: what is known at each of them, and what plain baselines would offer."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from freshet.data import Ratings
from freshet.demo.baselines import Baseline, all_baselines

__all__ = ["K", "World"]

K = 20
"""Films that are asked for."""


class World:
    """Who has rated what, which films are in the catalogue, and the baselines.

    A film enters the catalogue behind its first rating, which therefore nobody can foretell.

    Example:
        >>> from freshet.data import load_movietweetings
        >>> world = World(load_movietweetings(3))
        >>> [event["type"] for event in world.events(0)]
        ['click', 'item']
        >>> world.learn(0)
        >>> len(world.slates(1)["popular"])
        1
    """

    def __init__(self, log: Ratings) -> None:
        self.log = log
        self.entered: dict[str, int] = {}
        self.number: dict[str, int] = {}
        self._users: dict[str, int] = {}
        self._seen: list[set[int]] = []
        self.baselines: dict[str, Baseline] = all_baselines(len(set(log.items)), log.ts_ms[0])

    def slates(self, index: int) -> dict[str, npt.NDArray[np.int64]]:
        """What each baseline offers before the rating of this number is learned."""
        number, ts_ms = self._user(self.log.users[index]), self.log.ts_ms[index]
        size, seen = len(self.number), self._seen[number]
        return {name: line.top(number, seen, size, K, ts_ms) for name, line in self.baselines.items()}

    def hits(self, index: int) -> dict[str, bool]:
        """Whether each baseline offers the film of this rating before that is learned."""
        film = self.number.get(self.log.items[index], -1)
        return {name: film in slate for name, slate in self.slates(index).items()}

    def events(self, index: int, request_id: str | None = None) -> list[dict[str, Any]]:
        """A rating as events: a click, on the decision of `request_id` if it was offered there, and the film
        behind its first."""
        item, ts = self.log.items[index], self.log.ts_ms[index]
        click: dict[str, Any] = {"type": "click", "ts": ts, "item_id": item, "user_id": self.log.users[index]}
        if request_id is not None:
            click["request_id"] = request_id
        if item in self.entered:
            return [click]
        title = self.log.titles.get(item, item)
        return [click, {"type": "item", "item_id": item, "ts": ts, "attributes": {"title": title}}]

    def learn(self, index: int) -> None:
        """Take the rating of this number."""
        item, ts_ms = self.log.items[index], self.log.ts_ms[index]
        number = self._user(self.log.users[index])
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
