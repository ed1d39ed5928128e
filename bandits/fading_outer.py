"""One linear model over request x item that forgets: `bandits.outer_model` over slots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bandits.errors import PolicyError
from bandits.forgetting import Forgetting, SharedSums
from bandits.ops.arrays import Bool, Float64, Int32
from bandits.ops.fading_linear import absorb_fading_outer
from bandits.outer_model import MOST_ENTRIES, ItemFeatures, OuterModel
from learners.part import Column, Columns, Side
from learners.rows import RowBlock
from stream.frame import Frame

__all__ = ["FadingOuter"]


class FadingOuter(OuterModel):
    """`OuterModel` whose sums A and b fade, or end, in event time; the prior l2 stays.

    There is one model for all items, so it forgets as a whole: a reward goes by the time of its impression,
    and now is the newest step that anybody has learned in.

    Bounded: `OuterModel`, and its sums again for each part.

    Args:
        forgetting: how.
        dim, item_dim, item_features, l2, freeze_rows: as in `OuterModel`.

    Raises:
        PolicyError: R x I is too large, or becomes so by the parts of a window.

    Example:
        >>> features = lambda rows: np.ones((rows.size, 2), np.float32)
        >>> model = FadingOuter(1, 2, features, Forgetting(window_ms=60_000), l2=1.0, freeze_rows=0)
        >>> model.scores(np.array([4], np.int32), np.ones(1), 1.0)[0].round(3).tolist()
        [1.414]
    """

    def __init__(
        self,
        dim: int,
        item_dim: int,
        item_features: ItemFeatures,
        forgetting: Forgetting,
        *,
        l2: float,
        freeze_rows: float,
    ) -> None:
        n, parts = dim * item_dim, forgetting.parts
        if n <= MOST_ENTRIES < n * parts**0.5:
            msg = (
                f"lin_ucb: form 'shared' of {dim} x {item_dim} features with {parts} parts of a window has "
                f"{parts} x {n} x {n} numbers, which every commit publishes; at most {MOST_ENTRIES}^2 are "
                "allowed: lower window_parts or the number of features, or take half_life_ms, which needs "
                "one part"
            )
            raise PolicyError(msg)
        self.forgetting = forgetting
        super().__init__(dim, item_dim, item_features, l2=l2, freeze_rows=freeze_rows)
        self.sides = {
            "shared": (
                Column("moments", "<f8", (1 + 2 * dim,), merge="sum"),
                Column("item_moments", "<f8", (1 + 2 * item_dim,), merge="sum"),
                Column("epochs", "<i8", ("slots",), merge="key"),
                Column("sums", "<f8", ("slots", n * (n + 1) // 2 + n), merge="sum"),
                Column("shown", "<i8", merge="sum"),
            )
        }

    def clear(self) -> None:
        """Forget everything."""
        super().clear()
        self._slots = SharedSums(self.forgetting, self._a.size + self._b.size)

    def _factor(self) -> None:
        sums = self._slots.at(self._slots.newest)
        self._a, self._b = sums[: self._a.size].copy(), sums[self._a.size :].copy()
        super()._factor()

    def _absorb(self, block: RowBlock, x: Float64, touched: Bool) -> None:
        absorb_fading_outer(
            block.kind, block.slate, block.place, block.reward, block.start, block.items, block.decided, x,
            self._item_features(block.items).astype(np.float64), self.forgetting.epochs_of(block),
            self.forgetting.fading, *self._slots.slots(), self._shown, self.moments.sums,
            self._item_moments.sums, self.freeze_rows, touched,
        )  # fmt: skip

    def export(self, side: Side, rows: Int32) -> Columns:
        """See `learners.part.Part.export`."""
        epochs, sums = self._slots.export()
        return {
            "moments": self.moments.sums.copy(),
            "item_moments": self._item_moments.sums.copy(),
            "epochs": epochs,
            "sums": sums,
            "shown": np.array(self._shown[0]),
        }

    def adopt(self, side: Side, rows: Int32, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """See `learners.part.Part.adopt`."""
        self.moments.sums[:] = columns["moments"]
        self._item_moments.sums[:] = columns["item_moments"]
        self._slots.adopt(columns["epochs"], columns["sums"])
        self._shown[0] = columns["shown"]
        self._is_moved, self._is_stale = True, True

    def snapshot(self) -> Frame:
        """All sums."""
        return {**super().snapshot(), "forgets": list(self.forgetting.said)}
