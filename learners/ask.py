"""One request, as sources of candidates and scorers see it: who asks, for what, and what is known of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

__all__ = ["Ask"]

T = TypeVar("T")

Bool = npt.NDArray[np.bool_]
Int32 = npt.NDArray[np.int32]
Float32 = npt.NDArray[np.float32]

_NONE = np.zeros(0, np.int32)
_NO_MASK = np.zeros(0, np.bool_)
_NO_CONTEXT: Mapping[str, Any] = MappingProxyType({})


def _nothing(_: int) -> Int32:
    return _NONE


@dataclass(slots=True)
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
        allowed: by item row, false for `blocked`; may be shorter than the table, and holds only while
            candidates are gathered.
        best_own: the n best of the policy's own candidates; none if it lists none.

    Example:
        >>> ask = Ask(user=3, now_ms=50, history=np.array([4, 9], np.int32))
        >>> ask.newest(5).tolist(), ask.once("sum", lambda: 13), ask.once("sum", lambda: 14)
        ([9, 4], 13, 13)
    """

    user: int
    now_ms: int
    k: int = 10
    history: Int32 = field(default_factory=lambda: _NONE)
    viewed: Int32 = field(default_factory=lambda: _NONE)
    vector: Float32 | None = None
    blocked: Int32 = field(default_factory=lambda: _NONE)
    groups: Int32 | None = None
    context: Mapping[str, Any] = field(default_factory=lambda: _NO_CONTEXT)
    allowed: Bool = field(default_factory=lambda: _NO_MASK)
    best_own: Callable[[int], Int32] = _nothing
    _known: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    def newest(self, n: int) -> Int32:
        """The newest `n` items of the history, newest first."""
        return self.history[::-1][: max(n, 0)]

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` returns, worked out once a request whoever asks for it."""
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = make()
        return cast(T, found)
