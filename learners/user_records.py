"""A part that keeps a short list of items for each user, as 32-bit words in one block of memory."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from learners.errors import LearnerError, ReplicaError
from learners.part import Column, Columns, Part, PartSpec, Side
from learners.rows import RowBlock
from learners.touched import Touched, grown, roomier
from stream.frame import Frame

__all__ = ["UserRecords"]

Int32 = npt.NDArray[np.int32]
UInt32 = npt.NDArray[np.uint32]
UInt64 = npt.NDArray[np.uint64]


class UserRecords(Part):
    """For each user row at most `width` entries of `words` words, the first of which is an item's key.

    Items go by keys of their ids (`World.item_keys`), not by rows: an entry needs no id on the wire, and one
    of an item that is gone is found by nobody. Memory: 4 * `words` * `width` bytes a user row and 6 more,
    whatever the user did; users are bounded by their table.

    Args:
        item_keys: keys (n,) of item rows (n,).
        width: entries of a user, at most.
        words: of an entry.
    """

    def __init__(self, item_keys: Callable[[Int32], UInt64], width: int, words: int) -> None:
        if not 1 <= width <= 255:  # lengths are bytes
            msg = f"a user has 1 to 255 items here, got {width}"
            raise LearnerError(msg)
        self.item_keys = item_keys
        self.spec = PartSpec(
            {
                "user": (
                    Column("entries", "u4", ("n", words), most=width),
                    *(Column(name, dtype) for name, dtype in self._more().items()),
                )
            }
        )
        self._shape = (words, width)
        self._clear()

    def _clear(self) -> None:
        self._records = np.zeros((256, *self._shape), np.uint32)
        self._length = np.zeros(256, np.uint8)
        self._touched = Touched(256)

    def _more(self) -> dict[str, str]:
        """Arrays by user that stand beside, by the name of their attribute and column, with their type."""
        return {}

    # -- reading ---------------------------------------------------------------------------------------------

    def record(self, user: int) -> tuple[UInt32, int]:
        """The words of user row `user`, and how many entries are in use; none for an unknown one."""
        known = 0 <= user < self._length.size
        return self._records[user if known else 0], int(self._length[user]) if known else 0

    # -- writing ---------------------------------------------------------------------------------------------

    @abstractmethod
    def _learn(self, block: RowBlock, place_keys: UInt64, keys: UInt64) -> None:
        """Learn a block; keys of its places and of its operations' items."""

    def learn_users(
        self, block: RowBlock, inbox: Mapping[str, Mapping[str, Columns]]
    ) -> Mapping[str, Columns]:
        """Learn what users were shown and did."""
        if len(block):
            highest = block.once("highest user", lambda: int(block.slate_user.max(initial=-1)))
            self.ensure(max(int(block.user.max()), highest) + 1)
            self._learn(block, self._place_keys(block), self.item_keys(block.item))
        return {}

    def _place_keys(self, block: RowBlock) -> UInt64:
        # By the ids of a block's items, so equal for all pieces of it.
        return block.once("place keys", lambda: self.item_keys(block.items))

    def ensure(self, users: int) -> None:
        """Make room for user rows below `users`."""
        if users <= self._length.size:
            return
        users = roomier(self._length.size, users)
        # Not `grown`: pages that nobody has written to take no memory.
        records = np.zeros((users, *self._shape), np.uint32)
        records[: len(self._records)] = self._records
        self._records = records
        self._length = grown(self._length, users).astype(np.uint8, copy=False)
        for name, dtype in self._more().items():
            setattr(self, name, grown(getattr(self, name), users).astype(dtype, copy=False))
        self._touched.ensure(users)

    def remove(self, side: Side, rows: Int32) -> None:
        """Forget these users; what is kept of an item that is gone means nobody's."""
        if side == "user":
            rows = rows[rows < self._length.size]
            self._empty(rows)
            self._touched.add(rows)

    def _empty(self, rows: Int32) -> None:
        self._records[rows] = 0
        self._length[rows] = 0
        for name in self._more():
            getattr(self, name)[rows] = 0

    # -- copying ---------------------------------------------------------------------------------------------

    def touched(self, side: Side) -> Int32:
        """Users who were shown something, did something, or are forgotten."""
        return self._touched.drain()

    def export(self, side: Side, rows: Int32) -> Columns:
        """Whole lists of user `rows` (n,)."""
        self.ensure(int(rows.max(initial=-1)) + 1)
        lengths = self._length[rows].astype(np.int32)
        is_used = np.arange(self._shape[1]) < lengths[:, None]
        entries = self._records[rows].transpose(0, 2, 1)[is_used]
        return {
            "n": lengths,
            "entries": entries,
            **{name: getattr(self, name)[rows] for name in self._more()},
        }

    def adopt(self, side: Side, rows: Int32, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """Replace lists of user `rows` (n,).

        Raises:
            ReplicaError: a list is longer than lists are here.
        """
        lengths = columns["n"]
        if int(lengths.max(initial=0)) > self._shape[1]:
            msg = f"a user has {lengths.max()} items, at most {self._shape[1]} are kept here"
            raise ReplicaError(msg)
        self.ensure(int(rows.max(initial=-1)) + 1)
        self._empty(rows)
        is_used = np.arange(self._shape[1]) < lengths[:, None]
        lists = np.zeros((rows.size, self._shape[1], self._shape[0]), np.uint32)
        lists[is_used] = columns["entries"]
        self._records[rows] = lists.transpose(0, 2, 1)
        self._length[rows] = lengths
        for name in self._more():
            getattr(self, name)[rows] = columns[name]

    def snapshot(self) -> Frame:
        """Every list that has something."""
        rows = np.flatnonzero(self._length).astype(np.int32)
        return {"rows": rows, **self.export("user", rows), "touched": self._touched.peek()}

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described; of lists that were longer the newest entries are kept."""
        self._clear()
        self.adopt("user", frame["rows"], self._fitting(frame))
        self.ensure(int(frame["touched"].max(initial=-1)) + 1)
        self._touched.put(frame["touched"])
        self._touched.ensure(self._length.size)

    def _fitting(self, frame: Frame) -> Frame:
        """The frame, with the last entries of each list that has more than there is room for now."""
        lengths, most = frame["n"], self._shape[1]
        ends = np.cumsum(lengths)
        after = np.repeat(ends, lengths) - np.arange(int(lengths.sum()))
        kept = {"n": np.minimum(lengths, most), "entries": frame["entries"][after <= most]}
        return {**frame, **kept}
