"""A linear model for each item that forgets: `bandits.linear_arms` over slots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bandits.errors import PolicyError
from bandits.forgetting import Epochs, Forgetting, SharedSums
from bandits.linear_arms import LinearArms
from bandits.ops.arrays import Bool, Float64, Int32, with_room
from bandits.ops.fading_linear import absorb_fading_arms, fade_arms
from bandits.ops.forgetting import faded
from learners.part import Column, Columns, Side
from learners.rows import RowBlock
from stream.frame import Frame

__all__ = ["FadingArms"]

_MOST_BYTES = 4 * 2**30


class FadingArms(LinearArms):
    """`LinearArms` whose sums A and b fade, or end, in event time; the prior l2 stays.

    A reward goes by the time of its impression. Scores are of what the sums are worth in the newest step that
    any arm has learned in, so that an item that is not shown any more becomes uncertain again. What is
    computed of an arm is kept until it learns or that step is over.

    Grows as `LinearArms` does, and by its sums again for each part.

    Args:
        forgetting: how.
        dim, max_arms, l2, freeze_rows: as in `LinearArms`.

    Raises:
        PolicyError: all arms together would take more than 4 GB.

    Example:
        >>> arms = FadingArms(2, Forgetting(window_ms=60_000), max_arms=10, l2=1.0, freeze_rows=0)
        >>> arms.scores(np.array([4], np.int32), np.array([3.0, 4.0]), 1.0)[0].tolist()
        [5.0]
    """

    def __init__(
        self, dim: int, forgetting: Forgetting, *, max_arms: int, l2: float, freeze_rows: float
    ) -> None:
        self.forgetting = forgetting
        width = dim * (dim + 1) // 2 + dim
        size = 8 * width * forgetting.parts * max_arms
        if size > _MOST_BYTES:
            msg = (
                f"lin_ucb: {max_arms} arms of {dim} features would take {size / 1e9:.1f} GB with the "
                f"{forgetting.parts} parts of a window; at most 4.3 are allowed: lower max_arms, "
                "window_parts or the number of features, or take half_life_ms, which needs one part"
            )
            raise PolicyError(msg)
        super().__init__(dim, max_arms=max_arms, l2=l2, freeze_rows=freeze_rows)
        slot = (forgetting.parts, width)
        self.sides = {
            "item": (*forgetting.columns, Column("sums", "<f8", slot), Column("shown", "<i8")),
            "shared": (
                Column("moments", "<f8", (1 + 2 * dim,), merge="sum"),
                Column("other_epochs", "<i8", ("slots",), merge="key"),
                Column("other_sums", "<f8", ("slots", width), merge="sum"),
                Column("other_shown", "<i8", merge="sum"),
            ),
        }

    def clear(self) -> None:
        """Forget everything."""
        super().clear()
        parts, width = self.forgetting.parts, self._a.shape[1] + self.dim
        self._epochs = Epochs(parts)
        self._epochs.ensure(self._a.shape[0])
        self._sums = np.zeros((self._a.shape[0], parts, width))
        self._others = SharedSums(self.forgetting, width)
        self._now = 0

    # --- deciding ---

    def _factor(self, rows: Int32) -> None:
        """Bring up to date what scores of `rows` need."""
        self._make_room_for_factors()
        packed = self._a.shape[1]
        if self._is_stale[0]:
            others = self._others.at(self._now)
            self._a[0], self._b[0] = others[:packed], others[packed:]
        fade_arms(
            rows, self._arm_of, self._is_stale, self._epochs.of, self._sums, self._now,
            self.forgetting.fading, self._a, self._b,
        )  # fmt: skip
        super()._factor(rows)

    def _go_on(self) -> None:
        """Where time has come to another step, every arm is worth something else."""
        now = max(self._epochs.now, self._others.newest)
        if now != self._now:
            self._now, self._has_stale = now, True
            self._is_stale[:] = True

    # --- learning ---

    def _absorb(self, block: RowBlock, x: Float64, touched: Bool) -> None:
        other_epochs, other_sums = self._others.slots()
        absorb_fading_arms(
            block.kind, block.slate, block.place, block.reward, block.start, block.items, block.decided, x,
            self.forgetting.epochs_of(block), self.forgetting.fading, self._arm_of, self._epochs.of,
            self._sums, other_epochs, other_sums, self._shown, self.moments.sums, self.moments.most, touched,
        )  # fmt: skip
        self._epochs.seen(np.flatnonzero(touched).astype(np.int32))
        self._go_on()

    def _admit(self, row: int, *, is_bounded: bool = True) -> int:
        is_new = self._arm_of[row] < 0
        arm = super()._admit(row, is_bounded=is_bounded)
        if is_new and arm > 0:
            self._epochs.ensure(self._a.shape[0])
            self._sums = with_room(self._sums, self._a.shape[0])
            self._sums[arm] = 0.0
        return arm

    def remove(self, rows: Int32) -> None:
        """Forget these rows; their arms may be given to other items."""
        known = rows[(rows >= 0) & (rows < self._arm_of.size)]
        arms = self._arm_of[known]
        super().remove(rows)
        self._epochs.clear(arms[arms > 0])
        self._go_on()

    # --- replication ---

    def export(self, side: Side, rows: Int32) -> Columns:
        """See `learners.part.Part.export`."""
        if side == "shared":
            epochs, sums = self._others.export()
            return {
                "moments": self.moments.sums.copy(),
                "other_epochs": epochs,
                "other_sums": sums,
                "other_shown": np.array(self._shown[0]),
            }
        known = rows < self._arm_of.size
        arms = np.where(known, self._arm_of[np.where(known, rows, 0)] if self._arm_of.size else -1, -1)
        epochs, sums, shown = self._epochs.of[arms], self._sums[arms], self._shown[arms]
        epochs[arms < 0], sums[arms < 0], shown[arms < 0] = 0, 0.0, 0
        return {**self.forgetting.export(rows), "epochs": epochs, "sums": sums, "shown": shown}

    def adopt(self, side: Side, rows: Int32, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """See `learners.part.Part.adopt`; rows of zeros are items that nobody has shown."""
        self._has_stale = True
        if side == "shared":
            has_other_scale = not np.array_equal(self.moments.sums, columns["moments"])
            self.moments.sums[:] = columns["moments"]
            self._others.adopt(columns["other_epochs"], columns["other_sums"])
            self._shown[0] = columns["other_shown"]
            self._is_moved = True
            self._is_stale[:1] = True
            if has_other_scale:  # once it is frozen, only the shared arm changes here
                self._rescale()
            self._go_on()
            return
        epochs, sums, shown = columns["epochs"], columns["sums"], columns["shown"]
        is_empty = (shown == 0) & ~epochs.any(axis=1) & ~sums.any(axis=(1, 2))
        self.remove(rows[is_empty])
        here = np.flatnonzero(~is_empty)
        self._arm_of = with_room(self._arm_of, int(rows.max(initial=-1)) + 1, -1)
        arms = np.array([self._admit(row, is_bounded=False) for row in rows[here].tolist()], np.int32)
        self._epochs.adopt(arms, epochs[here])
        self._sums[arms], self._shown[arms] = sums[here], shown[here]
        self._is_stale[arms[arms < self._is_stale.size]] = True
        self._touched.add(rows[here])
        self._go_on()

    # --- state ---

    def of(self, row: int) -> tuple[int, Float64] | None:
        """How often an item was shown, and what its sum of r x (d,) is worth now; None without an arm."""
        arm = int(self._arm_of[row]) if 0 <= row < self._arm_of.size else -1
        if arm < 0:
            return None
        sums = faded(
            np.array([arm], np.int32), self._epochs.of, self._sums, self._now, self.forgetting.fading
        )
        return int(self._shown[arm]), sums[0, self._a.shape[1] :]

    def snapshot(self) -> Frame:
        """All sums, by item row."""
        return {**super().snapshot(), "forgets": list(self.forgetting.said)}
