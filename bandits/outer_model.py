"""One linear model over request x item, for all items: sums in, scores out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bandits.errors import PolicyError
from bandits.moments import Moments
from bandits.ops.arrays import Bool, Float32, Float64, Int32
from bandits.ops.choice import choose
from bandits.ops.lanes import in_lanes
from bandits.ops.linear import inverse_of
from bandits.ops.outer import absorb_outer, outer_scores, rescaled_outer
from learners.part import Column, Columns, Side
from learners.rows import RowBlock
from stream.frame import Frame

__all__ = ["MOST_ENTRIES", "ItemFeatures", "OuterModel"]

MOST_ENTRIES = 320
"""Largest R x I: A has then 400 kB, which every commit publishes and every change factors anew."""

ItemFeatures = Callable[[Int32], Float32]
"""Features (n, I) of item rows (n,): the first is 1, and a row that nobody knows has only that."""


class OuterModel:
    """A = sum z z^T over impressions and b = sum r z over rewards, z the outer product of item and request.

    What is learned of an item holds for all items with the same features: a new one is known at once. Only
    additions change the sums, and owners of a share of the items keep a share of them. Standardised as in
    `bandits.linear_arms`, with moments of the requests and of the items.

    Bounded: (R I)^2 / 2 doubles, R I at most 320, and 4 times as much where scores are asked for.

    Args:
        dim: length R of x, with x[0] = 1.
        item_dim: length I of an item's features; `item_features` gives them.
        l2, freeze_rows: as in `bandits.linear_arms.LinearArms`.

    Raises:
        PolicyError: R x I is too large.

    Example:
        >>> model = OuterModel(1, 2, lambda rows: np.ones((rows.size, 2), np.float32), l2=1.0, freeze_rows=0)
        >>> model.scores(np.array([4], np.int32), np.ones(1), 1.0)[0].round(3).tolist()
        [1.414]
    """

    def __init__(
        self, dim: int, item_dim: int, item_features: ItemFeatures, *, l2: float, freeze_rows: float
    ) -> None:
        if dim * item_dim > MOST_ENTRIES:
            msg = (
                f"lin_ucb: form 'shared' has an entry for each pair of {dim} request features and {item_dim} "
                f"item features, {dim * item_dim} in all; at most {MOST_ENTRIES} are allowed: name fewer, or "
                "lower [policy] feature_dim or attribute_dim"
            )
            raise PolicyError(msg)
        self.dim = dim
        self.item_dim = item_dim
        self.l2 = l2
        self.freeze_rows = freeze_rows
        self._item_features = item_features
        n = dim * item_dim
        self.sides: Mapping[Side, tuple[Column, ...]] = {
            "shared": (
                Column("moments", "<f8", (1 + 2 * dim,), merge="sum"),
                Column("item_moments", "<f8", (1 + 2 * item_dim,), merge="sum"),
                Column("a", "<f8", (n * (n + 1) // 2,), merge="sum"),
                Column("b", "<f8", (n,), merge="sum"),
                Column("shown", "<i8", merge="sum"),
            )
        }
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        n = self.dim * self.item_dim
        self._a, self._b = np.zeros(n * (n + 1) // 2), np.zeros(n)
        self._shown = np.zeros(1, np.int64)
        self.moments = Moments(self.dim, most=self.freeze_rows)
        self._item_moments = Moments(self.item_dim, most=self.freeze_rows)
        self._is_moved, self._is_stale = False, True

    # --- deciding ---

    def scores(self, rows: Int32, x: Float32 | Float64, alpha: float) -> tuple[Float64, Float64]:
        """theta . z + alpha sqrt(z^T A^-1 z) of `rows` (n,), and the second term."""
        if self._is_stale:
            self._factor()
        scores, widths = np.empty(rows.size), np.empty(rows.size)
        outer_scores(
            rows, x.astype(np.float64), self._item_features(rows).astype(np.float64), *self._scalings,
            self._inverse, self._theta, alpha, scores, widths,
        )  # fmt: skip
        return scores, widths

    def choose(
        self, rows: Int32, x: Float32 | Float64, alpha: float, top: int, temperature: float, spread: float,
        u: float,
    ) -> tuple[int, int, float, float]:  # fmt: skip
        """`scores` and one draw: row, place, probability, score; place -1 for none."""
        scores, widths = self.scores(rows, x, alpha)
        place, probability = choose(scores, widths, top, temperature, spread, 0.0, u)
        if place < 0:
            return -1, -1, 0.0, 0.0
        return int(rows[place]), place, probability, float(scores[place])

    def _factor(self) -> None:
        n = self._b.size
        matrix, b = np.empty((n, n)), np.empty(n)
        self._scalings = (*self.moments.scaling(), *self._item_moments.scaling())
        rescaled_outer(self._a, self._b, *self._scalings, matrix, b)
        self._inverse, self._theta = np.empty(self._a.size), np.empty(n)
        # In whole blocks of 8, with zeros beyond.
        right, below = in_lanes(n) - n, np.empty((n, in_lanes(n)))
        matrix, b = np.pad(matrix, ((0, 0), (0, right))), np.pad(b, (0, right))
        inverse_of(matrix, self.l2, b, below, self._inverse, self._theta)
        self._is_stale = False

    # --- learning ---

    def learn(self, block: RowBlock, x: Float64) -> Int32:
        """Learn a block whose slates have x (S, R); the item rows that taught something, ascending."""
        touched = np.zeros(block.items.size, np.bool_)
        self._absorb(block, x, touched)
        rows = np.unique(block.items[touched])
        self._is_moved |= bool(rows.size)
        self._is_stale |= bool(rows.size)
        return rows

    def _absorb(self, block: RowBlock, x: Float64, touched: Bool) -> None:
        absorb_outer(
            block.kind, block.slate, block.place, block.reward, block.start, block.items, block.decided, x,
            self._item_features(block.items).astype(np.float64), self._a, self._b, self._shown,
            self.moments.sums, self._item_moments.sums, self.freeze_rows, touched,
        )  # fmt: skip

    def remove(self, rows: Int32) -> None:
        """Nothing: what was learned belongs to features."""

    # --- replication ---

    def touched(self, side: Side) -> Int32:
        """See `learners.part.Part.touched`."""
        moved = self._is_moved and side == "shared"
        self._is_moved &= not moved
        return np.zeros(int(moved), np.int32)

    def export(self, side: Side, rows: Int32) -> Columns:
        """See `learners.part.Part.export`."""
        return {
            "moments": self.moments.sums.copy(),
            "item_moments": self._item_moments.sums.copy(),
            "a": self._a.copy(),
            "b": self._b.copy(),
            "shown": np.array(self._shown[0]),
        }

    def adopt(self, side: Side, rows: Int32, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """See `learners.part.Part.adopt`."""
        self.moments.sums[:] = columns["moments"]
        self._item_moments.sums[:] = columns["item_moments"]
        self._a[:], self._b[:] = columns["a"], columns["b"]
        self._shown[0] = columns["shown"]
        self._is_moved, self._is_stale = True, True

    # --- state ---

    def of(self, row: int) -> tuple[int, Float64] | None:
        """None: nothing is known of one item alone."""
        return None

    @property
    def n_others(self) -> int:
        """0: no item needs an arm."""
        return 0

    @property
    def n_arms(self) -> int:
        """0: no item has an arm."""
        return 0

    def snapshot(self) -> Frame:
        """All sums."""
        return dict(self.export("shared", np.zeros(0, np.int32)))

    def restore(self, frame: Frame) -> None:
        """Become the state of a snapshot."""
        self.clear()
        self.adopt("shared", np.zeros(0, np.int32), frame)
        self._is_moved = False
