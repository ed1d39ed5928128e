"""Impressions and rewards by item row: the state of policies that ignore the context."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bandits.errors import PolicyError
from bandits.ops.arms import count_outcomes
from bandits.ops.arrays import Float64, Int32, Int64, with_room
from bandits.touched import TouchedItems
from learners.part import Column, Columns, Part, PartSpec, Side
from learners.rows import RowBlock
from stream.frame import Frame

__all__ = ["ArmCounts"]


class ArmCounts(Part):
    """Served impressions n (items,) and rewards r (items,) of every item, immediate: sums, so order-free.

    Grows with the items, 19 bytes each.

    Example:
        >>> counts = ArmCounts()
        >>> counts.of(np.array([3], np.int32))
        (array([0]), array([0.]))
    """

    spec = PartSpec({"item": (Column("shown", "i8"), Column("reward", "f8"))})

    def __init__(self) -> None:
        self._shown = np.zeros(0, np.int64)
        self._reward = np.zeros(0)
        self._mark = np.zeros(0, np.bool_)
        self._touched = TouchedItems()

    def ensure(self, n: int) -> None:
        """Make room for item rows 0..n - 1."""
        if n > self._shown.size:
            self._shown = with_room(self._shown, n)
            self._reward = with_room(self._reward, self._shown.size)
            self._mark = with_room(self._mark, self._shown.size, fill=False)

    def of(self, rows: Int32) -> tuple[Int64, Float64]:
        """Impressions (n,) and rewards (n,) of these rows; zeros for unknown ones, which take no memory."""
        known = (rows >= 0) & (rows < self._shown.size)
        if known.all():
            return self._shown[rows], self._reward[rows]
        shown, reward = np.zeros(rows.size, np.int64), np.zeros(rows.size)
        shown[known], reward[known] = self._shown[rows[known]], self._reward[rows[known]]
        return shown, reward

    def describe(self, row: int) -> Mapping[str, Any]:
        """Impressions and rewards of one item; empty if it was never shown."""
        shown, reward = self.of(np.array([row], np.int32))
        return {"shown": int(shown[0]), "reward": float(reward[0])} if shown[0] else {}

    def learn(self, rows: RowBlock) -> Int32:
        """Count the decided slates of a block, in order; returns the rows touched, ascending."""
        self.ensure(int(rows.items.max(initial=-1)) + 1)
        touched = count_outcomes(
            rows.kind, rows.slate, rows.place, self._gains(rows), rows.start, rows.items, rows.decided,
            self._shown, self._reward, self._mark,
        )  # fmt: skip
        self._touched.add(touched)
        return np.sort(touched)

    def _gains(self, rows: RowBlock) -> Float64:
        """What each operation (O,) adds to the reward of its place's item."""
        return rows.reward

    def merge(self, other: ArmCounts) -> None:
        """Add what another shard has counted."""
        n = other._shown.size
        self.ensure(n)
        self._shown[:n] += other._shown
        self._reward[:n] += other._reward
        self._touched.add(np.flatnonzero(other._shown).astype(np.int32))

    def remove_items(self, rows: Int32) -> None:
        """Forget these rows; they may be given to other items."""
        rows = np.unique(rows[(rows >= 0) & (rows < self._shown.size)])
        self._shown[rows], self._reward[rows] = 0, 0.0
        self._touched.add(rows)

    def _frame(self, rows: Int32) -> Frame:
        return {"rows": rows, "shown": self._shown[rows], "reward": self._reward[rows]}

    def snapshot(self) -> Frame:
        """All counts, by row."""
        return self._frame(np.flatnonzero((self._shown != 0) | (self._reward != 0)).astype(np.int32))

    def restore(self, frame: Frame) -> None:
        """Become the state of a snapshot.

        Raises:
            PolicyError: the frame holds no counts.
        """
        if not frame.keys() >= {"rows", "shown", "reward"}:
            msg = f"a snapshot of arm counts holds rows, shown and reward; this one {sorted(frame)}"
            raise PolicyError(msg)
        ArmCounts.__init__(self)
        self.adopt("item", frame["rows"], frame)
        self._touched = TouchedItems()

    def touched(self, side: Side) -> Int32:
        """Items shown or clicked."""
        return self._touched.drain()

    def export(self, side: Side, rows: Int32) -> Columns:
        """Impressions and rewards of `rows` (n,)."""
        self.ensure(int(rows.max(initial=-1)) + 1)
        return {"shown": self._shown[rows], "reward": self._reward[rows]}

    def adopt(self, side: Side, rows: Int32, columns: Mapping[str, Any]) -> None:
        """Replace the counts of `rows` (n,)."""
        self.ensure(int(rows.max(initial=-1)) + 1)
        self._shown[rows], self._reward[rows] = columns["shown"], columns["reward"]
        self._touched.add(rows)

    def upgraded(self, frame: Frame) -> Frame:
        """Frames of before had items alone, without saying so."""
        return {"item": frame} if "rows" in frame else frame
