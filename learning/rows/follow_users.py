"""Rows of users as changes of the user table, the biases and the histories."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from learning.rows.codec import UserRow
from learning.rows.follow_items import ItemFrames
from learning.rows.follow_owners import owner_changes
from learning.rows.follow_parts import FollowedParts
from learning.rows.numbering import Numbering
from learning.rows.row_reader import RowReader
from stream.frame import Frame

__all__ = ["UserFrames"]

Int32 = npt.NDArray[np.int32]


class UserFrames:
    """The newest row of each user that came since the last `take`; None where it was deleted.

    Args:
        dim: of vectors.
        max_rows: users at most; further ones are refused.
        reader: of users' rows.
        items: gives the items that they name their rows.
    """

    def __init__(self, dim: int, max_rows: int, reader: RowReader[UserRow], items: ItemFrames) -> None:
        self.numbering = Numbering(max_rows)
        self._dim, self._items = dim, items
        self.parts = FollowedParts(reader, "user", items.rows_of)
        self.refused = 0
        """Rows passed over because something in them is no finite number."""

    def take(self) -> Frame:
        """Changes of `users`, and the users' side of all parts."""
        found, gone = self.parts.taken()
        frame = self._frame(found, gone) if found or gone else {}
        self.parts.clear()
        return frame

    def _frame(self, found: list[int], gone: list[str]) -> Frame:
        numbering = self.numbering
        numbering.settle()
        removed = numbering.known(gone)
        numbering.drop(removed.tolist())
        users = self.parts.fitting(found)
        self.refused += len(found) - len(users)
        names = self.parts.names_of(users)
        rows, new = numbering.enter(names)
        if rows.size and rows.min() < 0:  # all rows are taken
            kept = rows >= 0
            users = [user for user, here in zip(users, kept.tolist(), strict=True) if here]
            rows, new = rows[kept], new[kept]
            names = self.parts.names_of(users)
        return {
            "users": owner_changes(self._dim, rows, names, new, removed),
            **self.parts.frames(rows, users, removed),
        }

    def snapshot(self) -> Frame:
        """All that was followed up to the last `take`."""
        return self.numbering.snapshot()

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described."""
        self.numbering.restore(frame)
        self.parts.clear()
