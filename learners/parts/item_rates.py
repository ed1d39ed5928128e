"""How often items are shown, clicked and touched, on five time scales."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from learners.ops.item_rates import N_COUNTS, N_RATES, add_rates, rate_features
from learners.part import Column, Columns, Part, PartSpec, Side
from learners.rows import RowBlock
from learners.touched import Touched, roomier
from learners.world import World
from stream.frame import Frame

__all__ = ["ItemRates", "Settings", "build"]

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]

_ONE_ROW, _NO_ROWS = np.zeros(1, np.int32), np.zeros(0, np.int32)


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing to set: names of features stand for half-lives."""


class ItemRates(Part):
    """For each item row fading counts of clicks and impressions at half-lives of 1 hour, 6 hours, 1, 4 and 16
    days, of signals (1 day) and dislikes (16 days), its impressions and clicks in all, and when it was first
    met; and the impressions and clicks of all items.

    First clicks and organic clicks count as clicks, clicks of kinds of weight 0 as signals, first and organic
    dislikes as dislikes. Memory: 128 bytes an item row, 5 more where it learns; rows are bounded by the item
    table.

    Example:
        >>> from learners.testing import organic_rows
        >>> rates = ItemRates()
        >>> rates.learn_items(organic_rows([(0, 3), (0, 3), (0, 4)], ts=[0, 0, 0], rewards=[1, 0, -1]), {})
        >>> found = rates.features(3_600_000, np.array([3, 4], np.int32))
        >>> np.exp(found[:, 5]).round(2).tolist(), bool(found[1, 0] < found[0, 0])
        ([1.0, 0.5], True)
    """

    spec = PartSpec(
        {
            "item": (Column("counts", "f8", (N_COUNTS,)),),
            "shared": (Column("totals", "i8", (2,), merge="sum"),),
        }
    )

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._records = np.zeros((1_024, N_COUNTS))
        self._totals = np.zeros(2, np.int64)
        self._told = np.zeros(2, np.int64)
        self._used = 0
        self._touched = Touched(1_024)

    # -- reading ---------------------------------------------------------------------------------------------

    def features(self, now_ms: int, rows: Int32) -> Float32:
        """Features (n, 14) of item `rows` (n,), see `learners.ops.item_rates.rate_features`."""
        out = np.empty((rows.size, N_RATES), np.float32)
        rate_features(self._records, self._used, self._totals, rows, now_ms, out)
        return out

    # -- writing ---------------------------------------------------------------------------------------------

    def ensure(self, rows: int) -> None:
        """Make room for item rows below `rows`."""
        self._used = max(self._used, rows)
        if rows > len(self._records):
            # Not `grown`: pages that nobody has written to take no memory.
            records = np.zeros((roomier(len(self._records), rows), N_COUNTS))
            records[: len(self._records)] = self._records
            self._records = records
            self._touched.ensure(len(records))

    def learn_items(self, block: RowBlock, parcel: Mapping[str, Columns]) -> None:
        """Count a block's impressions, clicks, signals and dislikes."""
        if not len(block):
            return
        highest = block.once("highest item", lambda: int(block.items.max(initial=-1)))
        self.ensure(max(int(block.item.max()), highest) + 1)
        touched = self._touched
        add_rates(
            block.kind, block.slate, block.start, block.items, block.item, block.first, block.reward,
            block.ts, self._records, self._totals, touched.flags, touched.rows, touched.size,
        )  # fmt: skip

    def remove(self, side: Side, rows: Int32) -> None:
        """Forget these items; the overall rate keeps what they added, and nothing is kept by user."""
        if side == "item":
            rows = rows[rows < self._used]
            self._records[rows] = 0.0
            self._touched.add(rows)

    # -- copying ---------------------------------------------------------------------------------------------

    def touched(self, side: Side) -> Int32:
        """Items that were met or removed; of "shared" whether the sums have changed."""
        if side == "item":
            return self._touched.drain()
        if (self._totals == self._told).all():
            return _NO_ROWS
        self._told = self._totals.copy()
        return _ONE_ROW

    def export(self, side: Side, rows: Int32) -> Columns:
        """Records (n, 16) of item `rows`; of "shared" the sums."""
        if side == "shared":
            return {"totals": self._totals.copy()}
        self.ensure(int(rows.max(initial=-1)) + 1)
        return {"counts": self._records[rows]}

    def adopt(self, side: Side, rows: Int32, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take over records, or the sums of all partitions."""
        if side == "shared":
            self._totals[:] = columns["totals"]
            return
        self.ensure(int(rows.max(initial=-1)) + 1)
        self._records[rows] = columns["counts"]

    def snapshot(self) -> Frame:
        """All rows that were ever met."""
        rows = np.flatnonzero(self._records[: self._used, 0]).astype(np.int32)
        return {
            "rows": rows, "counts": self._records[rows], "totals": self._totals.copy(),
            "told": self._told.copy(), "used": self._used, "touched": self._touched.peek(),
        }  # fmt: skip

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described."""
        self._clear()
        self.ensure(frame["used"])
        self._records[frame["rows"]] = frame["counts"]
        self._totals[:], self._told[:] = frame["totals"], frame["told"]
        self._touched.put(frame["touched"])
        self._touched.ensure(len(self._records))


def build(settings: Settings, world: World) -> ItemRates:
    """Empty counts."""
    return ItemRates()
