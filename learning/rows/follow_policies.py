"""Rows of `policy` as changes of the graph and of every policy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from learning.rows.codec import PolicyRow
from learning.rows.follow_items import ItemFrames
from learning.rows.follow_parts import FollowedParts
from learning.rows.places import HAS_POLICY
from learning.rows.row_reader import RowReader
from stream.frame import Frame

__all__ = ["PolicyFrames"]


class PolicyFrames:
    """The newest policy row of each item that came since the last `take`; None where it was deleted.

    Args:
        reader: of policies' rows.
        keys: what each is called in frames, where that differs.
        items: gives items their rows.
    """

    def __init__(self, reader: RowReader[PolicyRow], keys: Mapping[str, str], items: ItemFrames) -> None:
        self.parts = FollowedParts(reader, "item", items.rows_of, keys)
        self._items = items
        self.refused = 0
        """Rows passed over because something in them is no finite number."""

    def take(self) -> Frame:
        """Changes of every part, by its key."""
        all_found, gone_names = self.parts.taken()
        if not (all_found or gone_names or self._items.places.evicted.size):
            return {}
        gone = self._items.numbering.known(gone_names)
        found = self.parts.fitting(all_found)
        self.refused += len(all_found) - len(found)
        rows = self._items.mention(self.parts.names_of(found))
        places = self._items.places
        places.keep_policies(rows, found)
        if rows.size and rows.min() < 0:
            found = [row for row, here in zip(found, (rows >= 0).tolist(), strict=True) if here]
            rows = rows[rows >= 0]
        places.mark(gone, HAS_POLICY, on=False)
        places.mark(rows, HAS_POLICY, on=True)
        gone = np.union1d(gone, places.evicted[~np.isin(places.evicted, rows)]).astype(np.int32)
        frame = self.parts.frames(rows, found, gone)
        self.parts.clear()
        return frame
