"""How far each kind of row has come: users by partition, items, policies, and what TRAIN has learned."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import zip_longest
from typing import Any, NamedTuple

__all__ = ["Marks"]


class Marks(NamedTuple):
    """Wall times in ms: every event accepted up to a mark is in the rows of its kind.

    `users` has one for each partition of users; an embedded system has one partition. `trained` is that of
    what learns whole lists. 0: nothing is known.

    Example:
        >>> marks = Marks((9_000, 9_500), items=2_000, policies=9_000, trained=9_000)
        >>> marks.absorbed_at, marks.lagging(10_000, 5_000)
        (9000, {'items': 8000})
    """

    users: tuple[int, ...] = (0,)
    items: int = 0
    policies: int = 0
    trained: int = 0

    @property
    def absorbed_at(self) -> int:
        """What the users of every partition have reached."""
        return min(self.users)

    @classmethod
    def all_at(cls, absorbed_at: int) -> Marks:
        """Of a learner whose one commit moves all kinds."""
        return cls((absorbed_at,), absorbed_at, absorbed_at, absorbed_at)

    @classmethod
    def read(cls, frame: Mapping[str, Any], absorbed_at: int) -> Marks:
        """Those that a commit's frame states, else all at its `absorbed_at`."""
        stated = frame.get("marks")
        if stated is None:
            return cls.all_at(absorbed_at)
        users = tuple(stated["users"])
        # Whoever stated none had the ranker from the first partition of users.
        return cls(users, stated["items"], stated["policies"], stated.get("trained", users[0]))

    def frame(self) -> dict[str, Any]:
        """As `read` takes them, under the key ``marks``."""
        return {"users": list(self.users), **self._others()}

    def later(self, other: Marks, latest: float = math.inf) -> Marks:
        """The later of each: a mark never falls, unless it is beyond `latest` and so was never true.

        Example:
            >>> Marks((5, 9), 5, 5, 5).later(Marks((7, 8), 4, 6, 5))
            Marks(users=(7, 9), items=5, policies=6, trained=5)
            >>> Marks((9_000,), 5, 9_000).later(Marks((7,), 4, 6), latest=100)
            Marks(users=(7,), items=5, policies=6, trained=0)
        """

        def chosen(mine: int, its: int) -> int:
            return its if mine > latest else max(mine, its)

        users = tuple(chosen(*pair) for pair in zip_longest(self.users, other.users, fillvalue=0))
        others = {name: chosen(mark, getattr(other, name)) for name, mark in self._others().items()}
        return Marks(users, **others)

    def lagging(self, now_ms: float, most_ms: int) -> dict[str, int]:
        """The kinds besides users that are more than `most_ms` behind `now_ms`, each with its lag in ms."""
        lags = {name: int(now_ms) - mark for name, mark in self._others().items()}
        return {name: lag for name, lag in lags.items() if lag > most_ms}

    def _others(self) -> dict[str, int]:
        return {"items": self.items, "policies": self.policies, "trained": self.trained}
