"""What rows hold of parts, as changes of those parts: the same for every part and side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from learners.part import Column, Side
from learning.rows.checks import differ
from learning.rows.codec import ItemRow, PolicyRow, UserRow
from learning.rows.packed_cells import Expected, expected, fixed, packing
from learning.rows.part_columns import Arrays, RowsOf, are_cells, arrays_of, from_arrays
from learning.rows.row_reader import RowReader
from stream.frame import Frame

__all__ = ["FollowedParts", "merged"]

Int32 = npt.NDArray[np.int32]

Row = TypeVar("Row", UserRow, ItemRow, PolicyRow)


class FollowedParts(Generic[Row]):
    """The parts that keep something by row of one side.

    What rows hold of parts that are not among them is passed over: they were written under other settings,
    and stay in their topic.

    Args:
        reader: of these rows.
        rows_of: gives ids of a side their rows, -1 where none is left.
        keys: their names in frames, where these differ.
    """

    def __init__(
        self, reader: RowReader[Row], side: Side, rows_of: RowsOf, keys: Mapping[str, str] | None = None
    ) -> None:
        self._reader: RowReader[Row] = reader
        self._side: Side = side
        self._expected: list[tuple[str, Callable[[Row], Any], Expected]] = [
            (name, reader.packed_of(name), one)
            for name, columns in reader.columns.items()
            for one in expected(columns)
        ]
        self._rows_of, self._keys = rows_of, keys or {}
        # What was looked at last, so that it is read once.
        self._kept: tuple[Sequence[Any], dict[str, Arrays] | None] = ([], None)

    @property
    def unknown(self) -> set[str]:
        """Names of parts that rows have told of and that are not configured here."""
        return self._reader.unknown

    def check(self, row: Row) -> None:
        """That a row was written under the settings that are followed.

        Raises:
            FrameError: it was not.
        """
        if not self._reader.is_exact(row):
            self._require_widths(row)
        for name, packed_of, one in self._expected:
            cell = packed_of(row)
            if cell[one.place] != one.mine and cell[one.place] != one.unsaid:
                one.refuse(name, cell)

    def _require_widths(self, row: Row) -> None:
        """A part has other widths where its columns are of another shape, or others, by another setting."""
        for name, columns in self._reader.columns.items():
            cell = self._reader.packed_of(name)(row)
            shaped = [column for column in fixed(columns) if column.shape]
            if len(cell) != packing(columns).itemsize and (cell or shaped):
                settings = ", ".join(map(_in_words, shaped or fixed(columns)))
                differ(f"{name}: {settings}", f"{packing(columns).itemsize} bytes", len(cell))

    def fitting(self, found: list[Row]) -> list[Row]:
        """Those of `found` of which every part can be read; one number that is none spoils a row."""
        if not self._reader.are_exact(found):
            found = [row for row in found if self._fits(row)]
        arrays = self._arrays(found)
        if arrays is None:
            found = [row for row in found if self._arrays([row]) is not None]
            arrays = self._arrays(found)
        self._kept = found, arrays
        return found

    def _fits(self, row: Row) -> bool:
        reader = self._reader
        every = reader.columns.items()
        return reader.are_exact([row]) or all(are_cells(of, reader.cells(name, [row])) for name, of in every)

    def _arrays(self, found: Sequence[Row]) -> dict[str, Arrays] | None:
        out = {}
        for name, columns in self._reader.columns.items():
            arrays = arrays_of(columns, self._reader.cells(name, found))
            if arrays is None:
                return None
            out[name] = arrays
        return out

    def frames(self, rows: Int32, found: Sequence[Row], removed: Int32) -> Frame:
        """Changes by name: `found` (n,) stand in `rows` (n,), and `removed` (m,) hold nothing any more."""
        every = np.concatenate([rows, removed])
        (looked_at, arrays), self._kept = self._kept, ([], None)
        if not every.size:
            return {}
        if found is not looked_at:  # some found no row
            arrays = self._arrays(found)
        assert arrays is not None, "only rows that are fitting get a place"
        frame: Frame = {}
        for name, columns in self._reader.columns.items():
            side = from_arrays(columns, arrays[name], self._rows_of, removed.size)
            frame[self._keys.get(name, name)] = {self._side: {"rows": every, **side}}
        return frame


def _in_words(column: Column) -> str:
    if column.expects is not None:
        return f"{column.name} {' '.join(map(str, column.expects))}"
    return f"{column.name} of {column.shape[0]}" if column.shape else column.name


def merged(*frames: Frame) -> Frame:
    """Changes of different sides of the same parts as one.

    Example:
        >>> merged({"mf": {"user": 1}}, {"mf": {"item": 2}, "graph": {"rows": 3}})
        {'mf': {'user': 1, 'item': 2}, 'graph': {'rows': 3}}
    """
    out: Frame = {}
    for frame in frames:
        for name, changes in frame.items():
            out[name] = {**out.get(name, {}), **changes}
    return out
