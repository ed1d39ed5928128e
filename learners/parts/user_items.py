"""What each user was shown lately, how often, and whether they clicked it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt

from learners.item_keys import numbered_keys
from learners.ops.user_items import add_seen, seen_features
from learners.rows import RowBlock
from learners.user_records import UserRecords
from learners.world import World

__all__ = ["Settings", "UserItems", "build"]

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
UInt64 = npt.NDArray[np.uint64]

_WORDS, _FEATURES = 3, 3


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be set."""

    items: Annotated[int, msgspec.Meta(ge=1, le=255)] = 64
    """Items that are remembered of a user; 12 bytes each."""


class UserItems(UserRecords):
    """For each user row the `items` shown or clicked last: how often each was shown and clicked, and when
    last, to the second.

    First clicks and organic clicks count; signals and dislikes do not. Beyond `items` the least recent one
    makes room. Memory: 12 bytes an item, 768 bytes a user at 64, and 6 more where it learns.

    Example:
        >>> from learners.testing import organic_rows
        >>> part = UserItems()
        >>> _ = part.learn_users(organic_rows([(0, 5), (0, 6)], ts=[0, 9_000], rewards=[1, 0]), {})
        >>> keys = part.item_keys(np.array([5, 6], np.int32))
        >>> part.features(0, keys, 9_000).astype(float).round(2).tolist()
        [[0.0, 0.69, 2.3], [0.0, 0.0, nan]]
    """

    def __init__(self, item_keys: Callable[[Int32], UInt64] = numbered_keys, *, items: int = 64) -> None:
        super().__init__(item_keys, items, _WORDS)

    def _learn(self, block: RowBlock, place_keys: UInt64, keys: UInt64) -> None:
        touched = self._touched
        add_seen(
            block.kind, block.slate, block.start, block.slate_user, place_keys, block.user, keys, block.first,
            block.reward, block.ts, self._records, self._length, touched.flags, touched.rows, touched.size,
        )  # fmt: skip

    def features(self, user: int, keys: UInt64, now_ms: int) -> Float32:
        """Log times shown, log clicks and log seconds since either, (n, 3), of items with `keys` (n,)."""
        out = np.empty((keys.size, _FEATURES), np.float32)
        record, n = self.record(user)
        seen_features(record, n, keys, now_ms, out)
        return out


def build(settings: Settings, world: World) -> UserItems:
    """Nothing seen yet."""
    return UserItems(world.item_keys, items=settings.items)
