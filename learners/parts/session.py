"""What each user has touched since they came."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt

from learners.item_keys import numbered_keys
from learners.ops.user_items import add_touches, session_features
from learners.rows import RowBlock
from learners.user_records import UserRecords
from learners.world import World

__all__ = ["Session", "Settings", "build"]

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
UInt64 = npt.NDArray[np.uint64]

_WORDS, _FEATURES, _ITEMS = 2, 6, 16
_GAP_MS = 1_800_000
"""Half an hour without a touch ends a session, as in web analytics since the nineties: most gaps within a
visit are minutes, most between visits hours, so where exactly the line is hardly matters."""
_NO_KEYS = np.zeros(0, np.uint64)


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be set."""

    gap_ms: Annotated[int, msgspec.Meta(ge=1)] = _GAP_MS
    """Time without a click or signal that ends a session."""


class Session(UserRecords):
    """For each user row the 16 items touched last in their session: how often each was, and clicked.

    Clicks of every kind touch, also those of weight 0; dislikes do not. A session is over when the user has
    touched nothing for `gap_ms`. Memory: 136 bytes a user row, 6 more where it learns.

    Example:
        >>> from learners.testing import organic_rows
        >>> part = Session()
        >>> _ = part.learn_users(organic_rows([(0, 5), (0, 6), (0, 6)], rewards=[1, 0, 0]), {})
        >>> keys = part.item_keys(np.array([6, 7, 5], np.int32))
        >>> part.features(0, keys, 9_000, is_list=True)[:, :4].astype(float).round(2).tolist()
        [[1.0, 1.1, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0], [0.0, 0.69, 0.69, 0.0]]
        >>> part.features(0, keys, 2_000_000, is_list=True)[0].tolist()
        [0.0, 0.0, 0.0, nan, nan, nan]
    """

    def __init__(
        self, item_keys: Callable[[Int32], UInt64] = numbered_keys, *, gap_ms: int = _GAP_MS
    ) -> None:
        self.gap_ms = gap_ms
        super().__init__(item_keys, _ITEMS, _WORDS)

    def _clear(self) -> None:
        super()._clear()
        self.last_ms = np.zeros(self._length.size, np.int64)

    def _more(self) -> dict[str, str]:
        return {"last_ms": "i8"}

    def _place_keys(self, block: RowBlock) -> UInt64:
        return _NO_KEYS  # what is only shown is no touch

    def _learn(self, block: RowBlock, place_keys: UInt64, keys: UInt64) -> None:
        touched = self._touched
        add_touches(
            block.kind, block.user, keys, block.first, block.reward, block.ts, self.gap_ms, self._records,
            self._length, self.last_ms, touched.flags, touched.rows, touched.size,
        )  # fmt: skip

    def features(self, user: int, keys: UInt64, now_ms: int, *, is_list: bool) -> Float32:
        """Features (n, 6) of items with `keys` (n,), see `learners.ops.user_items.session_features`."""
        out = np.empty((keys.size, _FEATURES), np.float32)
        record, n = self.record(user)
        if n and now_ms - self.last_ms[user] > self.gap_ms:
            n = 0
        session_features(record, n, keys, is_list, out)
        return out


def build(settings: Settings, world: World) -> Session:
    """Nobody is here yet."""
    return Session(world.item_keys, gap_ms=settings.gap_ms)
