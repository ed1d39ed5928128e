"""Rows of `item-vectors` and `policy` out of the parts of a shard that owns items."""

from __future__ import annotations

from collections.abc import Callable
from itertools import compress

import numpy as np
import numpy.typing as npt

from learning.parts import Parts
from learning.rows.codec import ItemRow, PolicyRow, encode_rows
from learning.rows.publish_tools import (
    NO_PARTS,
    PartCells,
    PublishedIds,
    owned_by,
    union_of,
)
from stream.engine.shard import Output, outputs_of
from stream.frame import Frame

__all__ = ["ItemRows"]

Int32 = npt.NDArray[np.int32]

_NO_ROWS = np.zeros(0, np.int32)


class ItemRows:
    """Rows of `item-vectors` and `policy`: each of the shard's own items that was touched since the last
    call, whole, and tombstones for those removed.

    Args:
        parts: of the shard that owns the items.
        partition: number of that shard.
        partition_of: the partition of an id; rows of ids of other partitions are not published.

    Example:
        >>> from learning.settings import LearningSettings
        >>> from learning.parts import build_parts
        >>> parts = build_parts(LearningSettings())
        >>> rows = ItemRows(parts, 0, lambda name: int(name == "foreign"))
        >>> _ = parts.items.rows(["tea", "foreign"], ts=5)
        >>> [(output.topic, output.key) for output in rows.take()]
        [('item-vectors', b'tea')]
    """

    def __init__(self, parts: Parts, partition: int, partition_of: Callable[[str], int]) -> None:
        self._parts, self._partition, self._partition_of = parts, partition, partition_of
        self._owners = PublishedIds(parts.items)
        self._policy_cells = PartCells(parts.policy_rows(), "item", parts.names_of)
        self._cells = PartCells(parts.learners(), "item", parts.names_of)
        self._own = np.zeros(0, np.bool_)

    def take(self) -> list[Output]:
        """What has changed since the last call."""
        parts, partition = self._parts, self._partition
        frame = parts.items.changes()
        self._note(frame)
        gone = [name for name in self._owners.take(frame) if self._partition_of(name) == partition]
        touched = self._cells.touched(frame["removed"], frame["new_rows"])
        entered = parts.catalogue.changes()
        others = entered["rows"] if entered else _NO_ROWS
        rows = union_of(frame["new_rows"], others, touched)
        outputs = [
            Output(topic, partition, None, name.encode())
            for name in gone
            for topic in ("item-vectors", "policy")
        ]
        return outputs + self._items(*self._mine(rows)) + self._policies(frame["new_rows"], frame["removed"])

    def _note(self, frame: Frame) -> None:
        """Which of the new rows are the shard's own."""
        rows = frame["new_rows"]
        if rows.size and int(rows.max()) >= self._own.size:
            self._own = np.append(self._own, np.zeros(int(rows.max()) + 1, np.bool_))
        self._own[rows] = [self._partition_of(name) == self._partition for name in frame["new_ids"]]

    def _mine(self, rows: Int32) -> tuple[Int32, list[str]]:
        rows = rows[rows < self._own.size]
        return owned_by(self._parts.items, rows[self._own[rows]])

    # -- items -----------------------------------------------------------------------------------------------

    def _items(self, rows: Int32, names: list[str]) -> list[Output]:
        if not rows.size:
            return []
        catalogue = self._parts.catalogue
        catalogue.ensure(int(rows.max()) + 1)
        entered = np.where(catalogue.known[rows], catalogue.entered_ms[rows], 0).tolist()
        values = encode_rows(ItemRow, names, self._cells.of(rows), entered)
        return outputs_of("item-vectors", self._partition, names, values)

    # -- policies --------------------------------------------------------------------------------------------

    def _policies(self, new: Int32, removed: Int32) -> list[Output]:
        touched = self._policy_cells.touched(removed, new)
        rows, names = self._mine(union_of(touched, new))
        if not rows.size:
            return []
        cells = self._policy_cells.of(rows)
        # Of a new item there is nothing to say before it has an edge or was shown.
        says = [
            not is_new or one != NO_PARTS
            for is_new, one in zip(np.isin(rows, new).tolist(), cells, strict=True)
        ]
        names, cells = list(compress(names, says)), list(compress(cells, says))
        return outputs_of("policy", self._partition, names, encode_rows(PolicyRow, names, cells))

    # -- state -----------------------------------------------------------------------------------------------

    def snapshot(self) -> Frame:
        """What has been published and cannot be seen in the parts."""
        return {"owners": self._owners.snapshot(), "own": self._own[: self._parts.items.size].copy()}

    def restore(self, frame: Frame) -> None:
        """Become what `snapshot` described; restore the parts first."""
        self._owners.restore(frame["owners"])
        self._own = frame["own"].copy()
        for cells in (self._cells, self._policy_cells):
            cells.say_again(self._parts.unclaimed.given_back, self._parts.items.live)
