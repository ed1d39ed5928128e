"""A block in row numbers that is still to be counted, and whose lists may still get their features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from learners.feature_schema import FeatureSchemas
from learners.logged_features import logged_features
from learners.ops.table import count_operations
from learners.rows import RowBlock
from learners.table import EmbeddingTable
from stream.blocks import SHOWN, Slate

__all__ = ["NO_BIRTHS", "Births", "Encoded"]

Int32 = npt.NDArray[np.int32]


class Births(NamedTuple):
    """The rows (n,) that a table gave to new ids within a block, ascending, and the operation of each.

    Example:
        >>> births = Births(np.array([4, 9], np.int32), np.array([0, 5], np.int32))
        >>> births.before(np.array([4, 9, 2], np.int32), np.array([3, 3, 3], np.int32)).tolist()
        [4, -1, 2]
    """

    rows: Int32
    operations: Int32

    def before(self, rows: Int32, operations: Int32) -> Int32:
        """Which of `rows` (m,) were there before each one's operation (m,); -1 instead of the others."""
        if not self.rows.size:
            return rows
        at = np.minimum(np.searchsorted(self.rows, rows), self.rows.size - 1)
        is_later = (self.rows[at] == rows) & (self.operations[at] >= operations)
        return np.where(is_later, np.int32(-1), rows)


NO_BIRTHS = Births(np.zeros(0, np.int32), np.zeros(0, np.int32))
"""Of a block whose ids were all known, or not admitted."""


class Encoded:
    """A block's columns as they come out of its ids alone: nothing is counted, and lists have no features.

    Whoever learns a block as a whole calls `count` and `put_features` at once. Where lists of others are to
    get theirs as of the moment when they are shown, the block is counted and learned piece by piece, and the
    features are put in at the end.

    Args:
        rows: the columns, without features.
        slates: what they were made from, by their number in there.
        users, items: the tables.
        births: of users and of items.
    """

    def __init__(
        self,
        rows: RowBlock,
        slates: Sequence[Slate],
        tables: tuple[EmbeddingTable, EmbeddingTable],
        births: tuple[Births, Births],
    ) -> None:
        self.rows, self.slates = rows, slates
        self._users, self._items = tables
        self._new_users, self._new_items = births

    def foreign(self) -> Int32:
        """The operations at which somebody else's list is shown, in order."""
        rows = self.rows
        if rows.decided.all():
            return np.zeros(0, np.int32)
        # An organic click has slate -1, and is not shown.
        is_foreign = (rows.kind == SHOWN) & ~rows.decided[rows.slate]
        return np.flatnonzero(is_foreign).astype(np.int32)

    def before(self, operations: Int32) -> tuple[Int32, Int32, Int32]:
        """Of lists shown at `operations` (n,): users' rows (n,), items' rows, one list after the other,
        and where each begins (n + 1,); -1 for those who had no row before."""
        rows = self.rows
        slate = rows.slate[operations]
        low, sizes = rows.start[slate], rows.start[slate + 1] - rows.start[slate]
        start = np.zeros(sizes.size + 1, np.int32)
        np.cumsum(sizes, out=start[1:])
        places = np.arange(int(start[-1])) + np.repeat(low - start[:-1], sizes)
        users = self._new_users.before(rows.slate_user[slate], operations)
        return users, self._new_items.before(rows.items[places], np.repeat(operations, sizes)), start

    def items_before(self, rows: Int32, operation: int) -> Int32:
        """Those of item `rows` (n,) that had an owner before an operation."""
        found = self._new_items.before(rows, np.full(rows.size, operation, np.int32))
        return found[found >= 0]

    def count(self, block: RowBlock) -> None:
        """Add the operations of `block`, which are some of this one's, to the tables' counts."""
        each = np.arange(block.slate_user.size + 1, dtype=np.int32)
        by_place = (self._items, block.items, block.start, block.item)
        by_slate = (self._users, block.slate_user, each, block.user)
        for table, shown, start, one in (by_place, by_slate):
            marks = table.counted
            count_operations(
                shown, start, block.kind, block.slate, one, block.first, block.ts, table.clicks,
                table.impressions, block.reward, table.touched_at, marks.flags, marks.rows, marks.size,
            )  # fmt: skip

    def put_features(self, schemas: FeatureSchemas | None) -> RowBlock:
        """The block with the features that its lists have now, in the order of `schemas`."""
        rows, slates = self.rows, self.slates
        n_shown, n_others = np.diff(rows.start), np.diff(rows.other_start)
        rows.rank_features, rows.other_features = logged_features(slates, n_shown, n_others, schemas)
        if not rows.decided.all():
            # A list whose features failed has their schema all the same: clicks on it count as unread.
            has = np.fromiter((s.feature_schema != "" for s in slates), np.bool_, len(slates))
            rows.ranked = rows.decided | has
        return rows
