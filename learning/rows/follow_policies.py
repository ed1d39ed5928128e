"""Rows of `policy` as changes of the graph and of every policy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from learning.rows.checks import check_id
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
        self.pending: dict[str, PolicyRow | None] = {}
        self._parts = FollowedParts(reader, "item", items.rows_of, keys)
        self._reader, self._items = reader, items
        self.refused = 0
        """Rows passed over because something in them is no finite number."""

    def put(self, name: str, value: bytes | None) -> None:
        """Take note of the newest policy row of an item.

        Raises:
            FrameError: the bytes are no row, one of another id, or of a worker with other settings.
        """
        row = None
        if value is not None:
            row = self._reader.read(value)
            check_id(name, row.item_id)
            self._parts.check(row)
        self.pending[name] = row

    def take(self) -> Frame:
        """Changes of every part, by its key."""
        pending, self.pending = self.pending, {}
        gone = self._items.numbering.known([name for name, row in pending.items() if row is None])
        all_found = [row for row in pending.values() if row is not None]
        found = self._parts.fitting(all_found)
        self.refused += len(all_found) - len(found)
        rows = self._items.mention([row.item_id for row in found])
        places = self._items.places
        places.keep_policies(rows, found)
        if rows.size and rows.min() < 0:
            found = [row for row, here in zip(found, (rows >= 0).tolist(), strict=True) if here]
            rows = rows[rows >= 0]
        places.mark(gone, HAS_POLICY, on=False)
        places.mark(rows, HAS_POLICY, on=True)
        gone = np.union1d(gone, places.evicted[~np.isin(places.evicted, rows)]).astype(np.int32)
        return self._parts.frames(rows, found, gone)

    @property
    def unknown(self) -> set[str]:
        """As `FollowedParts.unknown`."""
        return self._parts.unknown

    def restart(self) -> None:
        """Nothing is pending: what was followed is in the parts."""
        self.pending = {}
