"""The columns of a part that are as wide in every row, packed into one cell.

A row is read a million times at a start, and each of its cells costs an allocation then and a miss of the
cache later. So the numbers of a row stand together, one column after the other as the specification has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np

from learners.part import Column
from learning.rows.checks import SAME_SETTINGS
from stream.errors import FrameError

__all__ = [
    "PACKED",
    "Cell",
    "Cells",
    "Expected",
    "expected",
    "fixed",
    "packed",
    "packing",
    "unpacked",
    "width_of",
]

PACKED = ""
"""Name of the cell that holds the `fixed` columns; no column may be called so."""

Cell = bytes | list[str]
"""Numbers, or the ids that they refer to."""

Cells = dict[str, Cell]
"""What a row holds of a part: the packed cell, and by column name those that are not in it."""


@lru_cache(1_024)
def fixed(columns: tuple[Column, ...]) -> tuple[Column, ...]:
    """The columns that every row has as many numbers of.

    Example:
        >>> columns = (Column("n", "i4"), Column("last", "i4", ref="item"), Column("ts", "i8", ("clicks",)))
        >>> [column.name for column in fixed(columns)]
        ['n']
    """
    return tuple(column for column in columns if column.ref is None and not column.ragged)


@lru_cache(1_024)
def packing(columns: tuple[Column, ...]) -> np.dtype[Any]:
    """How the packed cell of a row is to be read: a field for each fixed column, without gaps.

    Example:
        >>> packing((Column("n", "i4"), Column("weights", "f8", (2,)))).itemsize
        20
    """
    fields = [(column.name, _wire(column), column.shape) for column in fixed(columns)]
    return np.dtype(fields)


@lru_cache(4_096)
def width_of(column: Column) -> int:
    """Bytes of one entry."""
    rest = column.shape[1:] if column.ragged else column.shape
    return prod(int(size) for size in rest) * np.dtype(column.dtype).itemsize


def packed(columns: tuple[Column, ...], cells: Mapping[str, Cell]) -> Cells:
    """Cells of which each has its name, as rows of version 2 held them, with the fixed ones as one.

    Where one has another type or width, so has what it becomes.

    Example:
        >>> columns = (Column("n", "i4"), Column("weights", "f8", (2,)), Column("ts", "i8", ("clicks",)))
        >>> packed(columns, {"n": b"1234", "ts": b"12345678"})
        {'': b'1234\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00', \
'ts': b'12345678'}
    """
    found = {column.name: cells[column.name] for column in fixed(columns) if cells.get(column.name)}
    if not found or PACKED in cells:
        return dict(cells)
    rest = {name: cell for name, cell in cells.items() if name not in found}
    each = [found.get(column.name, bytes(width_of(column))) for column in fixed(columns)]
    fits = all(len(cell) == width_of(column) for cell, column in zip(each, fixed(columns), strict=True))
    one = b"".join(cell for cell in each if isinstance(cell, bytes))
    return {PACKED: one if fits and len(one) == packing(columns).itemsize else [], **rest}


def unpacked(columns: tuple[Column, ...], cells: Mapping[str, Cell]) -> Cells:
    """Cells of which each has its name; those of fixed columns that are zero are left out.

    Example:
        >>> unpacked((Column("n", "i4"), Column("m", "i4")), {"": b"1234" + bytes(4)})
        {'n': b'1234'}
    """
    cell = cells.get(PACKED, b"")
    if not isinstance(cell, bytes) or not cell:
        return dict(cells)
    (row,) = np.frombuffer(cell, packing(columns))
    each = {column.name: row[column.name].tobytes() for column in fixed(columns)}
    held = {name: cell for name, cell in each.items() if any(cell)}
    return {**held, **{name: cell for name, cell in cells.items() if name != PACKED}}


@lru_cache(1_024)
def expected(columns: tuple[Column, ...]) -> tuple[Expected, ...]:
    """The columns that say under which settings a row was written."""
    fields: Any = packing(columns).fields
    return tuple(
        Expected(
            column,
            slice(fields[column.name][1], fields[column.name][1] + width_of(column)),
            np.array(column.expects, _wire(column)).tobytes(),
            bytes(width_of(column)),
        )
        for column in fixed(columns)
        if column.expects is not None
    )


class Expected(NamedTuple):
    """A column that says settings: where it stands in a packed cell, what it must hold there, and what it
    holds where a row says none."""

    column: Column
    place: slice
    mine: bytes
    unsaid: bytes

    def refuse(self, part: str, cell: Cell) -> None:
        """Say what a packed cell of that part has instead; nothing where it is no such cell at all.

        Raises:
            FrameError: it has other settings.

        Example:
            >>> columns = (Column("half_life_ms", "i8", setting=True, expects=(1_000,)),)
            >>> expected(columns)[0].refuse("clicks", np.array([500]).tobytes())
            Traceback (most recent call last):
            stream.errors.FrameError: clicks: half_life_ms: expected 1000, the row has 500; give \
server and workers the same settings
        """
        found = cell[self.place]
        if not isinstance(found, bytes) or len(found) != len(self.mine):
            return
        theirs = np.frombuffer(found, _wire(self.column)).tolist()
        mine = self.column.expects or ()
        ours, came = (" ".join(map(str, values)) for values in (mine, theirs))
        if self.column.named:  # those that differ, as the configuration calls them
            pairs = zip(self.column.named, mine, theirs, strict=True)
            both = [(f"{name} = {a}", f"{name} = {b}") for name, a, b in pairs if a != b]
            ours, came = (", ".join(each) for each in zip(*both, strict=True))
        msg = f"{part}: {self.column.name}: expected {ours}, the row has {came}; {SAME_SETTINGS}"
        raise FrameError(msg)


def _wire(column: Column) -> np.dtype[Any]:
    return np.dtype(column.dtype).newbyteorder("<")
