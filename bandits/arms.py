"""Impressions and rewards by item row: the state of policies that ignore the context."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bandits.drift import Watched
from bandits.errors import PolicyError
from bandits.forgetting import FadingSums, Forgetting
from bandits.ops.arms import count_outcomes
from bandits.ops.arrays import Float64, Int32, Int64, with_room
from bandits.touched import TouchedItems
from learners.part import Column, Columns, PartSpec, Side
from learners.rows import RowBlock
from stream.frame import Frame

__all__ = ["ArmCounts"]


class ArmCounts(Watched):
    """Served impressions n (items,) and rewards r (items,) of every item, immediate: sums, so order-free.

    With `forgetting` they fade, or end, in event time (`bandits.forgetting`); a reward goes by the time of
    its impression.

    Grows with the items, 19 bytes each, and 24 more for each part of what forgets.

    Example:
        >>> counts = ArmCounts()
        >>> counts.of(np.array([3], np.int32))
        (array([0]), array([0.]))
    """

    spec = PartSpec({"item": (Column("shown", "i8"), Column("reward", "f8"))})

    def __init__(self, forgetting: Forgetting | None = None) -> None:
        self.forgetting = forgetting
        self.goes_by_slates = forgetting is not None
        self._fading = None if forgetting is None else FadingSums(forgetting, 2)
        if self._fading is not None:
            self.spec = PartSpec({"item": (*self._fading.columns, Column("shown", "i8"))})
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
            if self._fading is not None:
                self._fading.ensure(self._shown.size)

    def of(self, rows: Int32) -> tuple[Int64 | Float64, Float64]:
        """Impressions (n,) and rewards (n,) of these rows, of both what they are worth now; zeros for unknown
        ones, which take no memory."""
        if self._fading is not None:
            now = self._fading.at_now(rows)
            return now[:, 0], now[:, 1]
        known = (rows >= 0) & (rows < self._shown.size)
        if known.all():
            return self._shown[rows], self._reward[rows]
        shown, reward = np.zeros(rows.size, np.int64), np.zeros(rows.size)
        shown[known], reward[known] = self._shown[rows[known]], self._reward[rows[known]]
        return shown, reward

    def describe(self, row: int) -> Mapping[str, Any]:
        """Impressions and rewards of one item; empty if it was never shown."""
        shown, reward = self.of(np.array([row], np.int32))
        if self._fading is not None and 0 <= row < self._shown.size and self._shown[row]:
            ever = {"shown": int(self._shown[row])}
            return {**ever, "shown_now": float(shown[0]), "reward_now": float(reward[0])}
        return {"shown": int(shown[0]), "reward": float(reward[0])} if shown[0] else {}

    def learn(self, rows: RowBlock) -> Int32:
        """Count the decided slates of a block, in order; returns the rows touched, ascending."""
        self.ensure(int(rows.items.max(initial=-1)) + 1)
        if self._fading is not None:
            touched = self._fading.count(rows, self._gains(rows), self._shown, self._mark)
        else:
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
        if self._fading is not None and other._fading is not None:
            self._touched.add(self._fading.merge(other._fading))
        self._touched.add(np.flatnonzero(other._shown).astype(np.int32))

    def remove_items(self, rows: Int32) -> None:
        """Forget these rows; they may be given to other items."""
        rows = np.unique(rows[(rows >= 0) & (rows < self._shown.size)])
        self._shown[rows], self._reward[rows] = 0, 0.0
        if self._fading is not None:
            self._fading.clear(rows)
        self._touched.add(rows)

    def snapshot(self) -> Frame:
        """All counts, by row."""
        if self._fading is None or self.forgetting is None:
            rows = np.flatnonzero((self._shown != 0) | (self._reward != 0)).astype(np.int32)
            return {"rows": rows, **self.export("item", rows), **self.drift_frame()}
        n = self._shown.size
        rows = np.flatnonzero((self._shown != 0) | self._fading.held()[:n]).astype(np.int32)
        frame = {"rows": rows, **self.export("item", rows), "forgets": list(self.forgetting.said)}
        return {**frame, **self.drift_frame()}

    def restore(self, frame: Frame) -> None:
        """Become the state of a snapshot.

        Raises:
            PolicyError: the frame holds no counts, or forgets in another way.
        """
        Forgetting.require_alike(self.forgetting, frame)
        kept = "reward" if self._fading is None else "sums"
        if not frame.keys() >= {"rows", "shown", kept}:
            msg = f"a snapshot of arm counts holds rows, shown and {kept}; this one {sorted(frame)}"
            raise PolicyError(msg)
        ArmCounts.__init__(self, self.forgetting)
        self.adopt("item", frame["rows"], frame)
        self._touched = TouchedItems()
        self.restore_drift(frame)

    def touched(self, side: Side) -> Int32:
        """Items shown or clicked."""
        return self._touched.drain()

    def export(self, side: Side, rows: Int32) -> Columns:
        """Impressions and rewards of `rows` (n,)."""
        self.ensure(int(rows.max(initial=-1)) + 1)
        if self._fading is not None:
            return {"shown": self._shown[rows], **self._fading.export(rows)}
        return {"shown": self._shown[rows], "reward": self._reward[rows]}

    def adopt(self, side: Side, rows: Int32, columns: Mapping[str, Any]) -> None:
        """Replace the counts of `rows` (n,)."""
        self.ensure(int(rows.max(initial=-1)) + 1)
        self._shown[rows] = columns["shown"]
        if self._fading is not None:
            self._fading.adopt(rows, columns)
        else:
            self._reward[rows] = columns["reward"]
        self._touched.add(rows)

    def upgraded(self, frame: Frame) -> Frame:
        """Frames of before had items alone, without saying so."""
        return {"item": frame} if "rows" in frame else frame
