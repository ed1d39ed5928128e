"""What each user clicked lately."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from learners.errors import LearnerError, ReplicaError
from learners.ops.history import append_all, drop_items, learn_positives
from learners.part import Column, Columns, Part, PartSpec, Side
from learners.rows import RowBlock
from learners.touched import Touched, grown, roomier
from stream.blocks import CLICK, ORGANIC
from stream.frame import Frame

__all__ = ["Histories", "Pairs"]

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

_CLASSES = 32
_NO_ITEMS = np.zeros(0, np.int32)


class Pairs:
    """Clicks of one user that followed each other: what co-occurrence learns from.

    Columns (P,): `item` was clicked at `ts`; `other`, clicked at `other_ts`, was the user's `rank`-th newest
    other item then (0 the newest).

    Example:
        >>> pairs = Pairs(np.array([[4, 2, 90, 70, 0]]))
        >>> len(pairs), int(pairs.item[0]), int(pairs.other[0]), int(pairs.ts[0] - pairs.other_ts[0])
        (1, 4, 2, 20)
    """

    __slots__ = ("item", "other", "other_ts", "rank", "ts")

    def __init__(self, columns: Int64) -> None:
        self.item: Int32 = columns[:, 0].astype(np.int32)
        self.other: Int32 = columns[:, 1].astype(np.int32)
        self.ts: Int64 = columns[:, 2].copy()
        self.other_ts: Int64 = columns[:, 3].copy()
        self.rank: Int32 = columns[:, 4].astype(np.int32)

    def __len__(self) -> int:
        """Number of pairs."""
        return int(self.item.size)


class Histories(Part):
    """For each user row the last `cap` distinct clicked items, oldest first, with the time of the last click.

    First clicks and organic clicks enter, and clicks of kinds of weight 0, which make no pairs; dislikes do
    not. A repeated item moves to the newest place. Memory: 12 bytes an
    entry in blocks that double as a user's list grows, so 12 to 24 bytes for each remembered click, at most
    24 * `cap` bytes a user; users are bounded by their table.

    `window` is how many earlier items a click is paired with in what `learn` returns.

    Example:
        >>> from learners.testing import organic_rows
        >>> histories = Histories(cap=3)
        >>> pairs = histories.learn(organic_rows([(0, 5), (0, 6), (0, 5), (1, 6)]))
        >>> histories.recent(0, 10), histories.recent(7, 10)
        (array([5, 6], dtype=int32), array([], dtype=int32))
        >>> list(zip(pairs.item.tolist(), pairs.other.tolist()))
        [(6, 5), (5, 6)]
    """

    spec = PartSpec(
        {"user": (Column("items", "i4", ("lengths",), ref="item"), Column("ts", "i8", ("lengths",)))}
    )

    def __init__(self, *, cap: int = 200, window: int = 5) -> None:
        if cap < 1 or window < 0:
            msg = f"histories need cap >= 1 and window >= 0, got {cap} and {window}"
            raise LearnerError(msg)
        self.cap, self.window = cap, window
        self._clear()

    def _clear(self, users: int = 256, entries: int = 4_096) -> None:
        self._pool = np.zeros(entries, np.int32)
        self._pool_ts = np.zeros(entries, np.int64)
        self._heads = np.full(_CLASSES, -1, np.int64)
        self._used = np.zeros(1, np.int64)
        self._offset = np.zeros(users, np.int64)
        self._length = np.zeros(users, np.int32)
        self._class = np.full(users, -1, np.int8)
        # Clicks since the last changes(); -1: something was taken out, the whole list must be sent.
        self._fresh = np.zeros(users, np.int32)
        self._touched = Touched(users)

    # -- reading ---------------------------------------------------------------------------------------------

    def recent(self, user: int, n: int) -> Int32:
        """The newest `n` clicked items of user row `user`, newest first; empty for an unknown row."""
        return self.clicked(user)[::-1][: max(n, 0)]

    def recent_ts(self, user: int, n: int) -> Int64:
        """Times of the clicks that `recent` lists."""
        if not 0 <= user < self._length.size:
            return np.zeros(0, np.int64)
        at = int(self._offset[user])
        return self._pool_ts[at : at + int(self._length[user])][::-1][: max(n, 0)].copy()

    def clicked(self, user: int) -> Int32:
        """All remembered items of user row `user`, oldest first."""
        if not 0 <= user < self._length.size:
            return _NO_ITEMS
        at = int(self._offset[user])
        return self._pool[at : at + int(self._length[user])].copy()

    def length(self, user: int) -> int:
        """How many items are remembered of user row `user`."""
        return int(self._length[user]) if 0 <= user < self._length.size else 0

    def lists(self, users: Int32) -> tuple[Int32, Int32, Int64]:
        """Whole histories of user rows (n,): lengths (n,), items and event times of all, oldest first."""
        self.ensure(int(users.max(initial=-1)) + 1)
        lengths = self._length[users]
        return lengths, *self._lists(users, lengths)

    # -- writing ---------------------------------------------------------------------------------------------

    def ensure(self, users: int) -> None:
        """Make room for user rows below `users`."""
        if users <= self._length.size:
            return
        users = roomier(self._length.size, users)
        self._offset = grown(self._offset, users).astype(np.int64, copy=False)
        self._length = grown(self._length, users).astype(np.int32, copy=False)
        self._class = grown(self._class, users, -1).astype(np.int8, copy=False)
        self._fresh = grown(self._fresh, users).astype(np.int32, copy=False)
        self._touched.ensure(users)

    def _grow_pool(self) -> None:
        entries = roomier(self._pool.size, self._pool.size + (self.cap << 1))
        self._pool = grown(self._pool, entries).astype(np.int32, copy=False)
        self._pool_ts = grown(self._pool_ts, entries).astype(np.int64, copy=False)

    def learn(self, rows: RowBlock) -> Pairs:
        """Append the block's positives in order; returns the pairs that they make."""
        if not len(rows):
            return Pairs(np.zeros((0, 5), np.int64))
        self.ensure(int(rows.user.max()) + 1)
        positives = int(np.count_nonzero((rows.kind == ORGANIC) | ((rows.kind == CLICK) & rows.first)))
        pairs = np.empty(((positives + 1) * self.window, 5), np.int64)
        done, n_pairs = 0, 0
        while True:
            touched = self._touched
            done, n_pairs = learn_positives(
                rows.kind, rows.user, rows.item, rows.first, rows.reward, rows.ts, *self._columns(),
                self.cap, self._fresh, touched.flags, touched.rows, touched.size, pairs, self.window, done,
                n_pairs,
            )  # fmt: skip
            if done == len(rows):
                return Pairs(pairs[:n_pairs])
            self._grow_pool()

    def _columns(self) -> tuple[Int32, Int64, Int64, Int64, Int64, Int32, npt.NDArray[np.int8]]:
        return (
            self._pool, self._pool_ts, self._heads, self._used, self._offset, self._length, self._class,
        )  # fmt: skip

    def _append(self, users: Int32, items: Int32, times: Int64) -> None:
        done = append_all(*self._columns(), self.cap, users, items, times, 0)
        while done < users.size:
            self._grow_pool()
            done = append_all(*self._columns(), self.cap, users, items, times, done)

    def learn_users(
        self, block: RowBlock, inbox: Mapping[str, Mapping[str, Columns]]
    ) -> Mapping[str, Columns]:
        """Append a block's positives; the `pairs` that they make, for parts that need them."""
        found = self.learn(block)
        return {"pairs": {name: getattr(found, name) for name in Pairs.__slots__}}

    def remove(self, side: Side, rows: Int32) -> None:
        """Take items out of all histories, or forget those of users."""
        if side == "item":
            self.remove_items(rows)
        elif side == "user":
            self.remove_users(rows)

    def remove_items(self, rows: Int32) -> None:
        """Take these items out of all histories; one pass over what is remembered."""
        if not rows.size or not self._used[0]:
            return
        gone = np.zeros(max(int(self._pool.max()), int(rows.max())) + 1, np.bool_)
        gone[rows] = True
        touched = self._touched
        drop_items(
            self._pool, self._pool_ts, self._offset, self._length, gone, self._fresh, touched.flags,
            touched.rows, touched.size,
        )  # fmt: skip

    def remove_users(self, rows: Int32) -> None:
        """Forget the histories of these users; their memory is used again."""
        rows = rows[rows < self._length.size]
        for user in rows.tolist():
            self._free(user)
        self._fresh[rows] = -1
        self._touched.add(rows)

    def _free(self, user: int) -> None:
        size_class, at = int(self._class[user]), int(self._offset[user])
        if size_class >= 0:
            self._pool[at : at + self._length[user]] = 0  # nothing of a forgotten user stays behind
            self._pool_ts[at : at + self._length[user]] = 0
            self._pool_ts[at] = self._heads[size_class]
            self._heads[size_class] = at
        self._class[user], self._length[user], self._offset[user] = -1, 0, 0

    # -- copying ---------------------------------------------------------------------------------------------

    def _lists(self, users: Int32, lengths: Int32) -> tuple[Int32, Int64]:
        ends = self._offset[users] + self._length[users]
        total = int(lengths.sum())
        first = np.repeat(ends - lengths, lengths)
        at = first + np.arange(total) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return self._pool[at], self._pool_ts[at]

    def snapshot(self) -> Frame:
        """Every list, packed."""
        users = np.flatnonzero(self._length).astype(np.int32)
        items, times = self._lists(users, self._length[users])
        touched = self._touched.peek()
        return {
            "rows": users,
            "lengths": self._length[users],
            "items": items,
            "ts": times,
            "touched": touched,
            "fresh": self._fresh[touched],
        }

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described."""
        self._clear()
        self._write(frame)
        self.ensure(int(frame["touched"].max()) + 1 if frame["touched"].size else 0)
        self._touched.put(frame["touched"])
        self._touched.ensure(self._length.size)
        self._fresh[frame["touched"]] = frame["fresh"]

    def touched(self, side: Side) -> Int32:
        """Users who clicked, or lost items."""
        rows = self._touched.drain()
        self._fresh[rows] = 0
        return rows

    def export(self, side: Side, rows: Int32) -> Columns:
        """Whole lists of user `rows` (n,), oldest first."""
        lengths, items, times = self.lists(rows)
        return {"lengths": lengths, "items": items, "ts": times}

    def adopt(self, side: Side, rows: Int32, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """Replace lists; where `whole` is given and false, append to them.

        A tail of distinct items appended again gives the owner's list: both keep the `cap` items that
        were last clicked, in order of their last click.
        """
        whole = columns["whole"] if "whole" in columns else np.ones(rows.size, np.bool_)
        users = rows[whole]
        users = users[users < self._length.size]
        for user in users[self._class[users] >= 0].tolist():
            self._free(user)
        self._write({"rows": rows, **columns})

    def changes(self) -> Frame:
        """For each touched user the newly clicked tail, or after a removal (`whole`) all of it: lists are
        long, and what is new in them is short."""
        rows = self._touched.drain()
        if not rows.size:
            return {}
        whole = self._fresh[rows] < 0
        lengths = np.where(whole, self._length[rows], np.minimum(self._fresh[rows], self._length[rows]))
        items, times = self._lists(rows, lengths)
        self._fresh[rows] = 0
        return {"user": {"rows": rows, "whole": whole, "lengths": lengths, "items": items, "ts": times}}

    def upgraded(self, frame: Frame) -> Frame:
        """Frames of before had users alone, without saying so."""
        if "rows" not in frame:
            return frame
        return {"user": frame, **({"removed": {"item": frame["gone"]}} if "gone" in frame else {})}

    def _write(self, frame: Frame) -> None:
        rows, lengths = frame["rows"], frame["lengths"]
        if int(lengths.sum()) != frame["items"].size:
            msg = f"a history frame tells of {int(lengths.sum())} entries and holds {frame['items'].size}"
            raise ReplicaError(msg)
        if rows.size:
            self.ensure(int(rows.max()) + 1)
        # Copies: the arrays of a decoded frame may not be written, and kernels are compiled for such as may.
        self._append(np.repeat(rows, lengths), np.array(frame["items"]), np.array(frame["ts"]))
