"""A linear model for each item: sums in, scores out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bandits.moments import Moments
from bandits.ops.arrays import Bool, Float32, Float64, Int32, Int64, with_room
from bandits.ops.lanes import in_lanes, zeros_in_lanes
from bandits.ops.linear import absorb_arms, factor_arms, linear_choice, linear_scores, strangers_of
from bandits.touched import TouchedItems
from learners.part import Column, Columns, Side
from learners.rows import RowBlock
from stream.frame import Frame

__all__ = ["LinearArms"]


class LinearArms:
    """Sums A = sum x x^T over impressions and b = sum r x over rewards for each item that has been shown.

    Only additions change them, so any order and any cut agree. What scores need (the inverse of l2 I + M A
    M^T, where M standardises) is computed when somebody asks, and kept until the arm or M changes. Item rows
    beyond `max_arms` learn into one arm that they share, and rows that nobody has shown score like it: while
    there are arms left it has learned nothing, so that they score like the prior.

    Grows with the items that were shown: for d features d^2 / 2 + 3 d / 2 doubles an arm, and as much again
    where scores are asked for; at most `max_arms` of them, and 5 bytes an item row.

    Args:
        dim: length d of x; x[0] is 1 where `freeze_rows` is not 0.
        max_arms: items with an arm of their own.
        l2: weight of the prior.
        freeze_rows: impressions that M rests on; 0: x is taken as it is.

    Example:
        >>> arms = LinearArms(2, max_arms=10, l2=1.0, freeze_rows=0)
        >>> arms.scores(np.array([4], np.int32), np.array([3.0, 4.0]), 1.0)[0].tolist()
        [5.0]
    """

    def __init__(self, dim: int, *, max_arms: int, l2: float, freeze_rows: float) -> None:
        self.dim = dim
        self.max_arms = max_arms
        self.l2 = l2
        self.freeze_rows = freeze_rows
        packed = dim * (dim + 1) // 2
        self.sides: Mapping[Side, tuple[Column, ...]] = {
            "item": (Column("a", "<f8", (packed,)), Column("b", "<f8", (dim,)), Column("shown", "<i8")),
            "shared": (
                Column("moments", "<f8", (1 + 2 * dim,), merge="sum"),
                Column("other_a", "<f8", (packed,), merge="sum"),
                Column("other_b", "<f8", (dim,), merge="sum"),
                Column("other_shown", "<i8", merge="sum"),
            ),
        }
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        packed = self.dim * (self.dim + 1) // 2
        self._arm_of = np.full(0, -1, np.int32)
        self._n_arms = 1  # arm 0 is that of all items without one
        self._free: list[int] = []
        self._a, self._b = np.zeros((8, packed)), np.zeros((8, self.dim))
        self._shown = np.zeros(8, np.int64)
        self.moments = Moments(self.dim, most=self.freeze_rows)
        self._touched = TouchedItems()
        self._is_moved = False
        self._models = np.zeros((0, in_lanes(packed) + in_lanes(self.dim)))
        self._is_stale, self._has_stale = np.ones(0, np.bool_), True
        self._scaling = np.stack(self.moments.scaling())

    # --- deciding ---

    def scores(self, rows: Int32, x: Float32 | Float64, alpha: float) -> tuple[Float64, Float64]:
        """theta . z + alpha sqrt(z^T A^-1 z) of `rows` (n,), and the second term."""
        self._factor(rows)
        scores, widths = np.empty(rows.size), np.empty(rows.size)
        linear_scores(rows, x, self._scaling, self._arm_of, self._models, alpha, scores, widths)
        return scores, widths

    def choose(
        self, rows: Int32, x: Float32 | Float64, alpha: float, top: int, temperature: float, spread: float,
        u: float,
    ) -> tuple[int, int, float, float]:  # fmt: skip
        """`scores` and one draw in one call: row, place, probability, score; place -1 for none."""
        if self._has_stale:
            self._factor(rows)
            # Handing arrays to a kernel costs as much as scoring some of them: no more than is needed.
            self._has_stale = bool(self._is_stale[: self._n_arms].any())
        choice: tuple[int, int, float, float] = linear_choice(
            rows, x, self._scaling, self._arm_of, self._models, alpha, top, temperature, spread, u
        )
        return choice

    def _factor(self, rows: Int32) -> None:
        """Bring up to date what scores of `rows` need."""
        self._make_room_for_factors()
        factor_arms(
            rows, self._arm_of, self._a, self._b, self._scaling, self.l2, self._is_stale, self._models
        )

    def _make_room_for_factors(self) -> None:
        if self._is_stale.size < self._n_arms:
            self._is_stale = with_room(self._is_stale, self._b.shape[0], fill=True)
            n, width = self._models.shape
            models = zeros_in_lanes(self._is_stale.size * width).reshape(-1, width)
            models[:n] = self._models
            self._models = models

    def _rescale(self) -> None:
        """The moments have changed, and with them what every arm gives."""
        self._scaling = np.stack(self.moments.scaling())
        self._is_stale[:] = True

    # --- learning ---

    def learn(self, block: RowBlock, x: Float64) -> Int32:
        """Learn a block whose slates have x (S, d); the item rows touched, ascending."""
        self._has_stale = True
        places = (block.start, block.items, block.decided, x)
        self._arm_of = with_room(self._arm_of, int(block.items.max(initial=-1)) + 1, -1)
        for row in strangers_of(block.kind, block.slate, block.place, *places, self._arm_of).tolist():
            self._admit(row)
        touched, n = np.zeros(self._n_arms, np.bool_), self.moments.sums[0]
        self._absorb(block, x, touched)
        rows = np.unique(block.items[block.items >= 0])
        rows = rows[touched[np.maximum(self._arm_of[rows], 0)] & (self._arm_of[rows] >= 0)]
        self._is_moved |= bool(touched[0]) or self.moments.sums[0] != n
        self._is_stale[: touched.size] |= touched[: self._is_stale.size]
        if self.moments.sums[0] != n:
            self._rescale()
        self._touched.add(rows)
        return rows

    def _absorb(self, block: RowBlock, x: Float64, touched: Bool) -> None:
        absorb_arms(
            block.kind, block.slate, block.place, block.reward, block.start, block.items, block.decided, x,
            self._arm_of, self._a, self._b, self._shown, self.moments.sums, self.moments.most, touched,
        )  # fmt: skip

    def _admit(self, row: int, *, is_bounded: bool = True) -> int:
        """The arm of a row: its own, a new one while there are any, else the one that the rest share."""
        arm = int(self._arm_of[row])
        if arm >= 0:
            return arm
        if self._free:
            arm = self._free.pop()
        elif self._n_arms <= self.max_arms or not is_bounded:
            arm = self._n_arms
            self._n_arms += 1
        else:
            return 0
        self._a, self._b = with_room(self._a, arm + 1), with_room(self._b, arm + 1)
        self._shown = with_room(self._shown, self._a.shape[0])
        self._a[arm], self._b[arm], self._shown[arm] = 0.0, 0.0, 0
        self._is_stale[arm : arm + 1] = True
        self._arm_of[row] = arm
        return arm

    def remove(self, rows: Int32) -> None:
        """Forget these rows; their arms may be given to other items."""
        rows = np.unique(rows[(rows >= 0) & (rows < self._arm_of.size)])
        held = rows[self._arm_of[rows] >= 0]
        self._free += self._arm_of[held].tolist()
        self._arm_of[held] = -1
        self._touched.add(held)

    # --- replication ---

    def touched(self, side: Side) -> Int32:
        """See `learners.part.Part.touched`."""
        if side == "item":
            return self._touched.drain()
        moved, self._is_moved = self._is_moved, False
        return np.zeros(int(moved and side == "shared"), np.int32)

    def export(self, side: Side, rows: Int32) -> Columns:
        """See `learners.part.Part.export`."""
        if side == "shared":
            return {
                "moments": self.moments.sums.copy(),
                "other_a": self._a[0].copy(),
                "other_b": self._b[0].copy(),
                "other_shown": np.array(self._shown[0]),
            }
        known = rows < self._arm_of.size
        arms = np.where(known, self._arm_of[np.where(known, rows, 0)] if self._arm_of.size else -1, -1)
        a, b, shown = self._a[arms], self._b[arms], self._shown[arms]
        a[arms < 0], b[arms < 0], shown[arms < 0] = 0.0, 0.0, 0
        return {"a": a, "b": b, "shown": shown}

    def adopt(self, side: Side, rows: Int32, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """See `learners.part.Part.adopt`; rows of zeros are items that nobody has shown."""
        self._has_stale = True
        if side == "shared":
            has_other_scale = not np.array_equal(self.moments.sums, columns["moments"])
            self.moments.sums[:] = columns["moments"]
            self._a[0], self._b[0] = columns["other_a"], columns["other_b"]
            self._shown[0] = columns["other_shown"]
            self._is_moved = True
            self._is_stale[:1] = True
            if has_other_scale:  # once it is frozen, only the shared arm changes here
                self._rescale()
            return
        a, b, shown = columns["a"], columns["b"], columns["shown"]
        is_empty = (shown == 0) & ~a.any(axis=1) & ~b.any(axis=1)
        self.remove(rows[is_empty])
        here = np.flatnonzero(~is_empty)
        self._arm_of = with_room(self._arm_of, int(rows.max(initial=-1)) + 1, -1)
        arms = np.array([self._admit(row, is_bounded=False) for row in rows[here].tolist()], np.int32)
        self._a[arms], self._b[arms], self._shown[arms] = a[here], b[here], shown[here]
        self._is_stale[arms[arms < self._is_stale.size]] = True
        self._touched.add(rows[here])

    # --- state ---

    def of(self, row: int) -> tuple[int, Float64] | None:
        """How often an item was shown, and its sum of r x (d,); None where it has no arm."""
        arm = int(self._arm_of[row]) if 0 <= row < self._arm_of.size else -1
        return None if arm < 0 else (int(self._shown[arm]), self._b[arm].copy())

    @property
    def n_others(self) -> int:
        """Impressions of items that found no arm."""
        return int(self._shown[0])

    @property
    def n_arms(self) -> int:
        """Items with an arm of their own."""
        return self._n_arms - 1 - len(self._free)

    def snapshot(self) -> Frame:
        """All sums, by item row."""
        rows = np.flatnonzero(self._arm_of >= 0).astype(np.int32)
        return {"rows": rows, **self.export("item", rows), **self.export("shared", rows)}

    def restore(self, frame: Frame) -> None:
        """Become the state of a snapshot."""
        self.clear()
        self.adopt("shared", frame["rows"][:0], frame)
        self.adopt("item", frame["rows"], frame)
        self._touched, self._is_moved = TouchedItems(), False

    def counts(self, rows: Int32) -> Int64:
        """Impressions (n,) of each row that has an arm, 0 of others."""
        return np.asarray(self.export("item", rows)["shown"], np.int64)
