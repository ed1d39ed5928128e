"""What rows hold of parts, as changes of those parts: the same for every part and side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from learners.part import Side
from learning.rows.codec import ItemRow, PolicyRow, UserRow
from learning.rows.part_columns import Arrays, RowsOf, from_arrays
from learning.rows.row_arrays import arrays_of_rows, fitting_rows
from learning.rows.row_reader import RowReader
from stream.errors import FrameError
from stream.frame import Frame

__all__ = ["FollowedParts", "merged"]

Int32 = npt.NDArray[np.int32]

_MOST_REPLACED = 10_000

Row = TypeVar("Row", UserRow, ItemRow, PolicyRow)


class FollowedParts(Generic[Row]):
    """The parts that keep something by row of one side, and the newest row of each id that came since the
    last round.

    What rows hold of parts that are not among them is passed over: they were written under other settings,
    and stay in their topic.

    Args:
        reader: of these rows.
        rows_of: gives ids of a side their rows, -1 where none is left.
        keys: their names in frames, where these differ.

    Attributes:
        pending: by id the number that the reader gave its newest row, None where it was deleted.
    """

    def __init__(
        self, reader: RowReader[Row], side: Side, rows_of: RowsOf, keys: Mapping[str, str] | None = None
    ) -> None:
        self._reader: RowReader[Row] = reader
        self._side: Side = side
        self._rows_of, self._keys = rows_of, keys or {}
        self.pending: dict[str, int | None] = {}
        # What was looked at last, so that it is read once.
        self._kept: tuple[list[int], dict[str, Arrays] | None] = ([], None)

    @property
    def unknown(self) -> set[str]:
        """Names of parts that rows have told of and that are not configured here."""
        return self._reader.unknown

    def put(
        self, names: list[str], keys: Sequence[bytes], values: Sequence[bytes | None]
    ) -> dict[int, FrameError]:
        """Take note of the newest rows of ids (n,), which `keys` are in UTF-8; None where one was deleted.

        Gives why some of the n cannot be taken: their bytes are no row, one of another id, or of a worker
        with other settings.
        """
        here = [n for n, value in enumerate(values) if value is not None]
        held = [value for value in values if value is not None]
        if len(here) == len(names):
            read = self._reader.read(names, keys, held)
        else:
            read = self._reader.read([names[n] for n in here], [keys[n] for n in here], held)
        rows: list[int | FrameError | None] = [None] * len(names)
        for n, number in zip(here, read, strict=True):
            rows[n] = number
        for name, row in zip(names, rows, strict=True):
            if not isinstance(row, FrameError):
                self.pending[name] = row
        if len(self._reader.values) > 2 * len(self.pending) + _MOST_REPLACED:
            self._drop_replaced()
        return {n: row for n, row in enumerate(rows) if isinstance(row, FrameError)}

    def _drop_replaced(self) -> None:
        """Let go of rows of which newer ones have come, where nobody has asked for a round for long."""
        held = {name: self._reader.values[row] for name, row in self.pending.items() if row is not None}
        self._reader.clear()
        for name, value in held.items():
            self.pending[name] = self._reader.read_again(name, value)

    def taken(self) -> tuple[list[int], list[str]]:
        """The rows that came since the last round, and which ids were deleted; they are pending no longer."""
        pending, self.pending = self.pending, {}
        found = [row for row in pending.values() if row is not None]
        return found, [name for name, row in pending.items() if row is None]

    def clear(self) -> None:
        """Forget what came: the round is over."""
        self.pending = {}
        self._reader.clear()

    def names_of(self, found: list[int]) -> list[str]:
        """The ids of these rows."""
        names = self._reader.names
        return [names[row] for row in found]

    def fitting(self, found: list[int]) -> list[int]:
        """Those rows of which every part can be read; one number that is none spoils a row."""
        if not found:  # of most topics nothing comes in most rounds
            return found
        self._kept = fitting_rows(self._reader, found)
        return self._kept[0]

    def frames(self, rows: Int32, found: list[int], removed: Int32) -> Frame:
        """Changes by name: `found` (n,) stand in `rows` (n,), and `removed` (m,) hold nothing any more."""
        every = np.concatenate([rows, removed])
        (looked_at, arrays), self._kept = self._kept, ([], None)
        if not every.size:
            return {}
        if found is not looked_at:  # some found no row, or there are none
            arrays = arrays_of_rows(self._reader, found)
        assert arrays is not None, "only rows that are fitting get a place"
        frame: Frame = {}
        for name, columns in self._reader.columns.items():
            side = from_arrays(columns, arrays[name], self._rows_of, removed.size)
            frame[self._keys.get(name, name)] = {self._side: {"rows": every, **side}}
        return frame


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
