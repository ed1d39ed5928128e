"""What rows hold of parts, as changes of those parts: the same for every part and side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from learners.part import Part, Side
from learning.rows.part_columns import (
    Cells,
    Gathered,
    RowsOf,
    all_fit,
    expected_cells,
    fitting,
    from_gathered,
    gathered,
    other_settings,
)
from stream.errors import FrameError
from stream.frame import Frame

__all__ = ["FollowedParts", "merged"]

Int32 = npt.NDArray[np.int32]

_NOTHING: Cells = {}


class _HasParts(Protocol):
    @property
    def parts(self) -> dict[str, Cells]: ...


Row = TypeVar("Row", bound=_HasParts)


class FollowedParts:
    """The parts that keep something by row of one side.

    What rows hold of parts that are not among them is passed over: they were written under other settings,
    and stay in their topic.

    Args:
        parts: by the name that they have in rows; they only say what fits.
        side: whose rows these are.
        rows_of: gives ids of a side their rows, -1 where none is left.
        keys: their names in frames, where these differ.
    """

    def __init__(
        self, parts: Mapping[str, Part], side: Side, rows_of: RowsOf, keys: Mapping[str, str] | None = None
    ) -> None:
        self._side: Side = side
        self._columns = {
            name: part.spec.sides[side] for name, part in parts.items() if side in part.spec.sides
        }
        found = {name: expected_cells(columns) for name, columns in self._columns.items()}
        self._expected = [(name, expected) for name, expected in found.items() if expected]
        self._rows_of, self._keys = rows_of, keys or {}
        # What was looked at last, so that it is gathered once.
        self._kept: tuple[Sequence[Any], dict[str, Gathered]] = ([], {})
        self.unknown: set[str] = set()
        """Names of parts that rows have told of and that are not configured here."""

    def check(self, parts: Mapping[str, Cells]) -> None:
        """That a row was written under the settings that are followed.

        Raises:
            FrameError: it was not.
        """
        for name, expected in self._expected:
            cells = parts.get(name)
            for column, mine in expected if cells else ():
                cell = cells.get(column) if cells else None
                if cell is not None and cell != mine:
                    self._refuse(name, column, cell)
        if not parts.keys() <= self._columns.keys():
            self.unknown |= parts.keys() - self._columns.keys()

    def _refuse(self, name: str, column: str, cell: bytes | list[str]) -> None:
        if other := other_settings(self._columns[name], column, cell):
            msg = f"{name}: {other}; give all programs the same"
            raise FrameError(msg)

    def fitting(self, found: list[Row]) -> list[Row]:
        """Those of `found` of which every part can be read; one number that is none spoils a row."""
        cells = self._gather(found)
        for name, columns in self._columns.items():
            if not all_fit(columns, cells[name]):
                fits = fitting(columns, [row.parts.get(name, _NOTHING) for row in found])
                found = [row for row, here in zip(found, fits.tolist(), strict=True) if here]
                cells = self._gather(found)
        self._kept = found, cells
        return found

    def _gather(self, found: Sequence[Row]) -> dict[str, Gathered]:
        every = [row.parts for row in found]
        return {
            name: gathered(columns, [parts.get(name, _NOTHING) for parts in every])
            for name, columns in self._columns.items()
        }

    def frames(self, rows: Int32, found: Sequence[Row], removed: Int32) -> Frame:
        """Changes by name: `found` (n,) stand in `rows` (n,), and `removed` (m,) hold nothing any more."""
        every = np.concatenate([rows, removed])
        (looked_at, cells), self._kept = self._kept, ([], {})
        if not every.size:
            return {}
        if found is not looked_at:  # some found no row
            cells = self._gather(found)
        frame: Frame = {}
        for name, columns in self._columns.items():
            for column in columns:
                cells[name][column.name] += [b"" if column.ref is None else []] * removed.size
            side = {"rows": every, **from_gathered(columns, cells[name], self._rows_of)}
            frame[self._keys.get(name, name)] = {self._side: side}
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
