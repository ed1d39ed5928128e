"""One request, as sources of candidates and scorers see it: who asks, for what, and what is known of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
import numpy.typing as npt

__all__ = ["Ask", "Listed"]

T = TypeVar("T")

Bool = npt.NDArray[np.bool_]
Int32 = npt.NDArray[np.int32]
Float32 = npt.NDArray[np.float32]

_NONE = np.zeros(0, np.int32)
_NO_MASK = np.zeros(0, np.bool_)
_NO_CONTEXT: Mapping[str, Any] = MappingProxyType({})


def _nothing(_: int) -> Int32:
    return _NONE


class Listed(NamedTuple):
    """A list that somebody else made: what is known of it beside its items, place by place.

    `rows` (n,) are the items in the order in which they stand there, -1 for an unknown one. A scorer is asked
    for the features of exactly this array, `rows is ask.listed.rows`, or for those of other items, of which
    nothing here is known. `contexts` holds what came with each item (`item_context`: the price shown, a
    badge), and is empty where nothing came.

    Example:
        >>> listed = Listed(np.array([4, -1], np.int32), [{"price": 3.5}, {}])
        >>> len(listed.rows), listed.contexts[0]["price"]
        (2, 3.5)
    """

    rows: Int32
    contexts: Sequence[Mapping[str, Any]] = ()


class Ask:
    """A request in row numbers; `user` is -1 for an unknown one.

    Args:
        user, now_ms, k: who asks, when, and for how many items.
        history: the user's remembered items (n,), oldest first.
        viewed: the item that the user looks at, (0,) or (1,): `item_id` of the request's context.
        vector: (dim,), None while nothing is known of the user's taste.
        blocked: rows (n,) that must not be shown, all of them known.
        groups: numbers of the groups that may be shown, None for any.
        context: the request's context as it came.
        listed: the list that is to be ordered, None where candidates are retrieved.
        allowed: by item row, false for `blocked`; may be shorter than the table, and holds only while
            candidates are gathered.
        best_own: the n best of the policy's own candidates; none if it lists none.

    Example:
        >>> ask = Ask(user=3, now_ms=50, history=np.array([4, 9], np.int32))
        >>> ask.newest(5).tolist(), ask.once("sum", lambda: 13), ask.once("sum", lambda: 14)
        ([9, 4], 13, 13)
    """

    # Not a dataclass: one is made for each request, and factories of defaults take a microsecond.
    __slots__ = (
        "allowed", "best_own", "blocked", "context", "groups", "history", "k", "known", "listed", "now_ms",
        "user", "vector", "viewed",
    )  # fmt: skip

    def __init__(
        self,
        user: int,
        now_ms: int,
        k: int = 10,
        *,
        history: Int32 = _NONE,
        viewed: Int32 = _NONE,
        vector: Float32 | None = None,
        blocked: Int32 = _NONE,
        groups: Int32 | None = None,
        context: Mapping[str, Any] = _NO_CONTEXT,
        allowed: Bool = _NO_MASK,
        best_own: Callable[[int], Int32] = _nothing,
        listed: Listed | None = None,
    ) -> None:
        self.user, self.now_ms, self.k = user, now_ms, k
        self.history, self.viewed, self.vector = history, viewed, vector
        self.blocked, self.groups, self.context = blocked, groups, context
        self.allowed, self.best_own, self.listed = allowed, best_own, listed
        self.known: dict[Hashable, Any] = {}
        """What was worked out for this request, by a key of whoever did it."""

    def newest(self, n: int) -> Int32:
        """The newest `n` items of the history, newest first."""
        return self.history[::-1][: max(n, 0)]

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` returns, worked out once a request whoever asks for it."""
        found = self.known.get(key)
        if found is None:
            found = self.known[key] = make()
        return cast(T, found)
