"""Rows of users as changes of the user table, the biases and the histories."""

from __future__ import annotations

from itertools import chain

import numpy as np
import numpy.typing as npt

from learning.rows.checks import check_id, check_vector, only_finite
from learning.rows.codec import UserRow
from learning.rows.follow_items import ItemFrames
from learning.rows.follow_tables import table_changes
from learning.rows.numbering import Numbering
from stream.frame import Frame

__all__ = ["UserFrames"]

Int32 = npt.NDArray[np.int32]


class UserFrames:
    """The newest row of each user that came since the last `take`; None where it was deleted.

    Args:
        dim: of vectors.
        max_rows: users at most; further ones are refused.
        items: gives the items of histories their rows.
    """

    def __init__(self, dim: int, max_rows: int, items: ItemFrames) -> None:
        self.numbering = Numbering(max_rows)
        self.pending: dict[str, UserRow | None] = {}
        self._dim, self._items = dim, items
        self.refused = 0
        """Rows passed over because something in them is no finite number."""

    def put(self, name: str, row: UserRow | None) -> None:
        """Take note of the newest row of a user.

        Raises:
            FrameError: it is of another id, or of a worker with other settings.
        """
        if row is not None:
            check_id(name, row.user_id)
            check_vector(row.vector, self._dim)
        self.pending[name] = row

    def take(self) -> Frame:
        """Changes of `users` and `history`, and the users' half of `mf`."""
        pending, self.pending = self.pending, {}
        if not pending:
            return {}
        numbering = self.numbering
        numbering.settle()
        removed = numbering.known([name for name, row in pending.items() if row is None])
        numbering.drop(removed.tolist())
        found = [row for row in pending.values() if row is not None]
        users = only_finite(found, "<f4", lambda user: user.vector)
        users = only_finite(users, "<i8", lambda user: user.recent_at)
        self.refused += len(found) - len(users)
        names = [user.user_id for user in users]
        rows, new = numbering.enter(names)
        if rows.size and rows.min() < 0:  # all rows are taken
            kept = rows >= 0
            users = [user for user, here in zip(users, kept.tolist(), strict=True) if here]
            rows, new = rows[kept], new[kept]
        return {
            "users": table_changes(self._dim, rows, [user.user_id for user in users], users, new, removed),
            "mf": {
                "user_rows": np.concatenate([rows, removed]),
                "user_bias": np.array([*(user.bias for user in users), *[0.0] * removed.size], np.float32),
            },
            "history": self.histories(rows, users, removed),
        }

    def snapshot(self) -> Frame:
        """All that was followed up to the last `take`."""
        return self.numbering.snapshot()

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described."""
        self.numbering.restore(frame)
        self.pending = {}

    def histories(self, rows: Int32, users: list[UserRow], removed: Int32) -> Frame:
        """Whole histories of `users` in `rows` (n,), and empty ones in the `removed` rows."""
        lengths = np.array([len(user.recent) for user in users], np.int32)
        items = self._items.mention(list(chain.from_iterable([user.recent for user in users])))
        times = np.frombuffer(b"".join([user.recent_at for user in users]), "<i8")
        if items.size and items.min() < 0:  # no row is left for the items of these clicks
            here = items >= 0
            n_before = np.concatenate([[0], np.cumsum(here)])
            ends = np.cumsum(lengths)
            lengths = (n_before[ends] - n_before[ends - lengths]).astype(np.int32)
            items, times = items[here], times[here]
        rows = np.concatenate([rows, removed])
        return {
            "rows": rows,
            "whole": np.ones(rows.size, np.bool_),
            "lengths": np.concatenate([lengths, np.zeros(removed.size, np.int32)]),
            "items": items,
            "ts": times,
        }
