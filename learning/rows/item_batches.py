"""Rows of items, read once for all the shards of a process that take them over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from learners.part import Column, Columns
from learning.rows.codec import ItemRow
from learning.rows.part_columns import Arrays, RowsOf, chosen_rows, from_arrays
from learning.rows.row_arrays import fitting_rows
from learning.rows.row_reader import RowReader
from stream.errors import FrameError

__all__ = ["ItemBatch", "ItemReader"]

_NEEDED = ("vectors", "counts")  # without these there is no row of an item to give anything to


class ItemBatch(NamedTuple):
    """What the newest rows of some items hold, each item once.

    Attributes:
        names: the items' ids, (n,).
        entered_at: as `ItemRow.entered_at`, (n,).
        arrays: by part its numbers, ids of other rows by name; shared by all who take them, so nobody writes
            into them.
        sides: the columns of each part.
    """

    names: list[str]
    entered_at: npt.NDArray[np.int64]
    arrays: Mapping[str, Arrays]
    sides: Mapping[str, tuple[Column, ...]]

    def columns(self, part: str, rows_of: RowsOf, chosen: npt.NDArray[np.bool_] | None = None) -> Columns:
        """What the part's `adopt` takes for all items, or for the `chosen` (n,); `rows_of` knows the rows of
        what it refers to."""
        came = from_arrays(self.sides[part], self.arrays[part], rows_of)
        return came if chosen is None else chosen_rows(self.sides[part], came, chosen)


class ItemReader:
    """Reads rows of `item-vectors`, thousands together.

    A row of another vector length cannot be read; another part that was written under other settings is left
    out of its row.

    Args:
        sides: by part the columns of its side of items.

    Example:
        >>> from learning.rows.codec import encode_row
        >>> table = {"vectors": (Column("version", "<i8"),), "counts": (Column("touched_at", "<i8"),)}
        >>> reader = ItemReader({**table, "mf": (Column("bias", "<f4"),)})
        >>> row = ItemRow(item_id="tea", entered_at=5, parts={"mf": {"": b"\\0\\0\\x80?"}})
        >>> batch, wrong = reader.read(["tea", "x"], [b"tea", b"x"], [encode_row(row), b"no row"])
        >>> batch.names, batch.entered_at.tolist(), batch.arrays["mf"]["bias"].tolist(), list(wrong)
        (['tea'], [5], [1.0], [1])
    """

    def __init__(self, sides: Mapping[str, tuple[Column, ...]]) -> None:
        self._sides = sides
        self._reader = RowReader(ItemRow, sides, spared=sides.keys() - set(_NEEDED))

    def read(
        self, names: Sequence[str], keys: Sequence[bytes], values: Sequence[bytes]
    ) -> tuple[ItemBatch, dict[int, FrameError]]:
        """The newest readable row of each item, and why some of the n rows are passed over; they are of the
        ids `names`, which `keys` are in UTF-8."""
        read = self._reader.read(names, keys, values)
        wrong = {n: one for n, one in enumerate(read) if isinstance(one, FrameError)}
        newest = {names[row]: row for row in read if not isinstance(row, FrameError)}
        rows, arrays = fitting_rows(self._reader, list(newest.values()))
        for row in set(newest.values()) - set(rows) if len(rows) < len(newest) else ():
            wrong[row] = FrameError("something in it is no finite number")
        batch = ItemBatch([names[row] for row in rows], self._reader.entered_at(rows), arrays, self._sides)
        self._reader.clear()
        return batch, wrong

    def read_values(self, values: Mapping[bytes, bytes]) -> ItemBatch:
        """As `read`, of rows that nothing is wrong with, by key.

        Raises:
            FrameError: something is.
        """
        batch, wrong = self.read([key.decode() for key in values], list(values), list(values.values()))
        for error in wrong.values():
            raise error
        return batch
