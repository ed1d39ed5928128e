"""Columns of a part as what rows on Kafka hold of it: by column name bytes, or ids where it refers to rows.

One form for every part, made from its `learners.part.PartSpec` alone. Numbers are little-endian. Zeros and
empty lists are what a row has that nothing was learned of, so they are not written: whoever reads takes what
is missing for that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from learners.part import Column, Columns
from stream.columns import are_finite, are_times

__all__ = [
    "Cells",
    "Gathered",
    "NamesOf",
    "RowsOf",
    "all_fit",
    "expected_cells",
    "fitting",
    "from_cells",
    "from_gathered",
    "gathered",
    "other_settings",
    "to_cells",
]

Int32 = npt.NDArray[np.int32]
Bool = npt.NDArray[np.bool_]

Cells = dict[str, bytes | list[str]]
"""What a row holds of a part, by column name."""

Gathered = dict[str, list[Any]]
"""By column the cells of some rows."""

NamesOf = Callable[[str, Int32], Sequence[str | None]]
"""The ids of rows of a side's table, None for those without an owner."""
RowsOf = Callable[[str, Sequence[str]], Int32]
"""The rows of ids on a side's table, -1 for those that get none."""


def to_cells(columns: tuple[Column, ...], n: int, exported: Columns, names_of: NamesOf) -> list[Cells]:
    """The cells of `n` rows out of what `Part.export` gave; empty ones for rows that hold nothing.

    Entries of a ragged dimension that refer to a row without an owner are left out.

    Example:
        >>> columns = (Column("n", "i4"), Column("near", "i4", ("near_n",), ref="item"))
        >>> came = {"n": np.array([0, 258], "i4"), "near_n": np.array([0, 2]), "near": np.array([1, 0], "i4")}
        >>> to_cells(columns, 2, came, lambda side, rows: [["tea", None][row] for row in rows])
        [{}, {'n': b'\\x02\\x01\\x00\\x00', 'near': ['tea']}]
    """
    cells: list[Cells] = [{} for _ in range(n)]
    for group in _by_dimension(columns):
        if group[0].ragged:
            _ragged_cells(group, exported, names_of, cells)
        else:
            for column in group:
                if not column.setting:
                    _fixed_cells(column, exported[column.name], names_of, cells)
    for column in columns:
        if column.setting:
            _add_setting(column, exported[column.name], cells)
    return cells


def from_cells(
    columns: tuple[Column, ...], cells: Sequence[Mapping[str, bytes | list[str]]], rows_of: RowsOf
) -> Columns:
    """What `Part.adopt` takes, out of the cells of n rows that are `fitting`.

    Example:
        >>> columns = (Column("n", "i4"), Column("near", "i4", ("near_n",), ref="item"))
        >>> cells = [{}, {"n": b"\\2\\1\\0\\0", "near": ["tea"]}]
        >>> back = from_cells(columns, cells, lambda side, ids: np.array([7]))
        >>> back["n"].tolist(), back["near_n"].tolist(), back["near"].tolist()
        ([0, 258], [0, 1], [7])
    """
    return from_gathered(columns, gathered(columns, cells), rows_of)


def gathered(columns: tuple[Column, ...], cells: Sequence[Mapping[str, bytes | list[str]]]) -> Gathered:
    """By column the cell of each row; empty ones where a row has none."""
    return {
        column.name: [one.get(column.name, empty) for one in cells]
        for column in columns
        for empty in (_EMPTY[column.ref is not None],)
    }


def from_gathered(columns: tuple[Column, ...], cells: Gathered, rows_of: RowsOf) -> Columns:
    """As `from_cells`, of `gathered` cells."""
    out: Columns = {}
    for group in _by_dimension(columns):
        if group[0].ragged:
            _ragged_columns(group, cells, rows_of, out)
        else:
            for column in group:
                out[column.name] = _fixed_column(column, cells[column.name], rows_of)
    return out


def fitting(columns: tuple[Column, ...], cells: Sequence[Mapping[str, bytes | list[str]]]) -> Bool:
    """Which of n rows have cells of the right lengths, with finite numbers only (n,).

    Example:
        >>> cells = [{}, {"bias": b"1234"}, {"bias": b"123"}, {"bias": ["a"]}]
        >>> fitting((Column("bias", "<f4"),), cells).tolist()
        [True, True, False, False]
    """
    found = gathered(columns, cells)
    if all_fit(columns, found):
        return np.ones(len(cells), np.bool_)
    return np.array([all_fit(columns, gathered(columns, [one])) for one in cells], np.bool_)


def all_fit(columns: tuple[Column, ...], cells: Gathered) -> bool:
    """Whether all rows are `fitting`; together, for a start reads millions, and nearly all are."""
    return all(_group_fits(group, cells) for group in _by_dimension(columns))


def _group_fits(group: Sequence[Column], cells: Gathered) -> bool:
    counts: npt.NDArray[np.int64] | None = None
    for column in group:
        values, is_ref = cells[column.name], column.ref is not None
        if not set(map(type, values)) <= {list if is_ref else bytes}:
            return False
        lengths, width = np.fromiter(map(len, values), np.int64, len(values)), 1 if is_ref else _width(column)
        if group[0].ragged:
            if (lengths % width).any() or (lengths > column.most * width).any():
                return False
            if counts is not None and (lengths // width != counts).any():
                return False
            counts = lengths // width
        elif ((lengths != 0) & (lengths != width)).any():
            return False
        if not is_ref and not _is_finite(np.frombuffer(b"".join(values), _wire(column))):
            return False
    return True


def expected_cells(columns: tuple[Column, ...]) -> list[tuple[str, bytes]]:
    """Of the columns that say under which settings a row was written: name, and the cell of ours.

    Example:
        >>> expected_cells((Column("half_life_ms", "i8", setting=True, expects=(258,)), Column("n", "i8")))
        [('half_life_ms', b'\\x02\\x01\\x00\\x00\\x00\\x00\\x00\\x00')]
    """
    return [
        (column.name, np.array(column.expects, _wire(column)).tobytes())
        for column in columns
        if column.expects is not None
    ]


def other_settings(columns: tuple[Column, ...], name: str, cell: bytes | list[str]) -> str:
    """What a cell of a column that says settings has instead of ours; empty where it says nothing.

    Example:
        >>> column = Column("half_life_ms", "<i8", setting=True, expects=(1_000,))
        >>> other_settings((column,), "half_life_ms", np.array([500]).tobytes())
        'half_life_ms: expected 1000, the row has 500'
    """
    column = next(column for column in columns if column.name == name)
    if not isinstance(cell, bytes) or len(cell) != _width(column):
        return ""  # that is no cell of such a column: `fitting` says so
    theirs = np.frombuffer(cell, _wire(column)).tolist()
    mine, came = (" ".join(map(str, values)) for values in (column.expects or (), theirs))
    return f"{name}: expected {mine}, the row has {came}"


@lru_cache(1_024)
def _by_dimension(columns: tuple[Column, ...]) -> list[list[Column]]:
    """Columns without a ragged dimension, then those of each dimension."""
    groups: dict[str, list[Column]] = {}
    for column in columns:
        groups.setdefault(column.ragged, []).append(column)
    return list(groups.values())


@lru_cache(4_096)
def _wire(column: Column) -> np.dtype[Any]:
    return np.dtype(column.dtype).newbyteorder("<")


@lru_cache(4_096)
def _width(column: Column) -> int:
    """Bytes of one entry."""
    rest = column.shape[1:] if column.ragged else column.shape
    return prod(int(size) for size in rest) * np.dtype(column.dtype).itemsize


# -- writing -------------------------------------------------------------------------------------------------


def _fixed_cells(column: Column, array: npt.NDArray[Any], names_of: NamesOf, cells: list[Cells]) -> None:
    if column.ref is not None:
        for one, name in zip(cells, names_of(column.ref, array), strict=True):
            if name is not None:
                one[column.name] = [name]
        return
    n, width = len(cells), _width(column)
    data = array.astype(_wire(column), copy=False).tobytes()
    held = np.flatnonzero(array.reshape(n, -1).any(axis=1)) if n else np.zeros(0, np.int64)
    for row in held.tolist():
        cells[row][column.name] = data[row * width : (row + 1) * width]


def _add_setting(column: Column, array: npt.NDArray[Any], cells: list[Cells]) -> None:
    """How the rest is to be read, where there is any."""
    width = _width(column)
    data = array.astype(_wire(column), copy=False).tobytes()
    for row, one in enumerate(cells):
        if one:
            one[column.name] = data[row * width : (row + 1) * width]


def _ragged_cells(group: list[Column], exported: Columns, names_of: NamesOf, cells: list[Cells]) -> None:
    lengths = exported[group[0].ragged]
    total = int(lengths.sum())
    kept, names = np.ones(total, np.bool_), {}
    for column in group:
        if column.ref is not None:
            names[column.name] = names_of(column.ref, exported[column.name])
            kept &= np.fromiter((name is not None for name in names[column.name]), np.bool_, total)
    ends = np.cumsum(lengths)
    before = np.concatenate([[0], np.cumsum(kept)])
    lows, highs = before[ends - lengths], before[ends]
    held = np.flatnonzero(highs > lows).tolist()
    cuts = list(zip(held, lows[held].tolist(), highs[held].tolist(), strict=True))
    for column in group:
        if column.ref is not None:
            some = [name for name in names[column.name] if name is not None]
            if len(some) != int(before[-1]):  # another column of the dimension has dropped entries
                some = [str(n) for n, k in zip(names[column.name], kept.tolist(), strict=True) if k]
            for row, low, high in cuts:
                cells[row][column.name] = some[low:high]
            continue
        width = _width(column)
        data = exported[column.name][kept].astype(_wire(column), copy=False).tobytes()
        for row, low, high in cuts:
            cells[row][column.name] = data[low * width : high * width]


# -- reading -------------------------------------------------------------------------------------------------


def _fixed_column(column: Column, cells: list[Any], rows_of: RowsOf) -> npt.NDArray[Any]:
    dtype = np.dtype(column.dtype)
    if column.ref is not None:
        out = np.full(len(cells), -1, dtype)
        at = [n for n, one in enumerate(cells) if one]
        out[at] = rows_of(column.ref, [cells[n][0] for n in at])
        return out
    data = b"".join(cells)
    if len(data) != len(cells) * _width(column):
        zeros = bytes(_width(column))
        data = b"".join([one or zeros for one in cells])
    # A copy: what is read may be written to, and kernels are compiled for such arrays.
    return np.frombuffer(data, _wire(column)).astype(dtype).reshape(len(cells), *column.shape)


def _ragged_columns(group: list[Column], cells: Gathered, rows_of: RowsOf, out: Columns) -> None:
    first = group[0]
    counts = np.fromiter(map(len, cells[first.name]), np.int64, len(cells[first.name]))
    lengths = counts // (1 if first.ref is not None else _width(first))
    total = int(lengths.sum())
    kept = np.ones(total, np.bool_)
    for column in group:
        if column.ref is not None:
            ids = list(chain.from_iterable(cells[column.name]))
            out[column.name] = rows_of(column.ref, ids).astype(column.dtype)
            kept &= out[column.name] >= 0
        else:
            values = np.frombuffer(b"".join(cells[column.name]), _wire(column)).astype(column.dtype)
            out[column.name] = values.reshape(total, *column.shape[1:])
    if not kept.all():
        for column in group:
            out[column.name] = out[column.name][kept]
        before = np.concatenate([[0], np.cumsum(kept)])
        ends = np.cumsum(lengths)
        lengths = before[ends] - before[ends - lengths]
    out[first.ragged] = lengths.astype(np.int32)


_EMPTY: tuple[bytes, list[str]] = (b"", [])


def _is_finite(values: npt.NDArray[Any]) -> bool:
    if values.dtype.kind == "f":
        return are_finite(values)
    return values.dtype != np.dtype("<i8") or are_times(values)
