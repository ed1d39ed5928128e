"""Columns of a part as what rows on Kafka hold of it: a packed cell of numbers, and lists by column name.

One form for every part, made from its `learners.part.PartSpec` alone. Numbers are little-endian. Zeros and
empty lists are what a row has that nothing was learned of, so they are not written: whoever reads takes what
is missing for that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from learners.part import Column, Columns
from learning.rows.packed_cells import PACKED, Cell, Cells, fixed, packed, packing, width_of
from stream.columns import are_finite, are_times
from stream.errors import FrameError

__all__ = [
    "Arrays",
    "Lists",
    "NamesOf",
    "RowsOf",
    "arrays_of",
    "chosen_rows",
    "encoded_cells",
    "fitted",
    "from_arrays",
    "from_cells",
    "is_flat",
    "to_cells",
]

_encode = msgspec.msgpack.Encoder().encode

Int32 = npt.NDArray[np.int32]
Bool = npt.NDArray[np.bool_]

_Gathered = Mapping[str, list[Any]]
"""By name of a cell those of some rows; empty ones where a row has none."""


class Lists(NamedTuple):
    """The cells that some rows have of a column that is not packed: how many ids or bytes each has, (n,), and
    all of them, one row after the other."""

    sizes: npt.NDArray[np.int64]
    entries: Any


Arrays = dict[str, Any]
"""By column the numbers of some rows, or their ids where it refers to rows; lengths as in `Columns`."""

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
        [{}, {'near': ['tea'], '': b'\\x02\\x01\\x00\\x00'}]
    """
    cells: list[Cells] = [{} for _ in range(n)]
    for group in _by_dimension(columns):
        if group[0].ragged:
            _ragged_cells(group, exported, names_of, cells)
        else:
            _references(group, exported, names_of, cells)
    if n and fixed(columns):
        _packed_cells(columns, exported, cells)
    return cells


def is_flat(columns: tuple[Column, ...]) -> bool:
    """Whether rows hold these columns in a packed cell and nothing else."""
    return len(fixed(columns)) == len(columns)


def encoded_cells(
    key: bytes, columns: tuple[Column, ...], n: int, exported: Columns, names_of: NamesOf
) -> list[bytes]:
    """As `to_cells`, but each as an entry of a MessagePack map, with `key` before it; empty for nothing.

    Example:
        >>> encoded_cells(b"\\xa1m", (Column("n", "i4"),), 2, {"n": np.array([0, 258], "i4")}, lambda *_: [])
        [b'', b'\\xa1m\\x81\\xa0\\xc4\\x04\\x02\\x01\\x00\\x00']
    """
    if not n or not is_flat(columns):
        return [key + _encode(one) if one else b"" for one in to_cells(columns, n, exported, names_of)]
    width = packing(columns).itemsize
    before = key + _encode({PACKED: bytes(width)})[:-width]
    entries = np.empty(n, [("before", f"V{len(before)}"), ("cell", packing(columns))])
    entries["before"] = np.void(before)
    held = _pack(columns, exported, entries["cell"]).tolist()
    data, size = entries.tobytes(), entries.itemsize
    return [
        data[at : at + size] if is_held else b""
        for at, is_held in zip(range(0, n * size, size), held, strict=True)
    ]


def from_cells(columns: tuple[Column, ...], cells: Sequence[Mapping[str, Cell]], rows_of: RowsOf) -> Columns:
    """What `Part.adopt` takes, out of the cells of n rows that are `fitted`.

    Example:
        >>> columns = (Column("n", "i4"), Column("near", "i4", ("near_n",), ref="item"))
        >>> cells = [{}, {"": b"\\2\\1\\0\\0", "near": ["tea"]}]
        >>> back = from_cells(columns, cells, lambda side, ids: np.array([7]))
        >>> back["n"].tolist(), back["near_n"].tolist(), back["near"].tolist()
        ([0, 258], [0, 1], [7])
    """
    arrays = _arrays(columns, _gathered(columns, cells))
    if arrays is None:
        msg = "cells hold numbers that are not finite, or lists that differ in length"
        raise FrameError(msg)
    return from_arrays(columns, arrays, rows_of)


def fitted(
    columns: tuple[Column, ...], cells: Sequence[Mapping[str, Cell]], rows_of: RowsOf
) -> tuple[Bool, Columns]:
    """Which of n rows have cells of the right lengths and finite numbers (n,), and `from_cells` of those.

    Example:
        >>> columns = (Column("bias", "<f4"),)
        >>> cells = [{}, {"": b"123"}, {"": b"\\0\\0\\x80?"}]
        >>> fits, came = fitted(columns, cells, lambda side, ids: np.zeros(0))
        >>> fits.tolist(), came["bias"].tolist()
        ([True, False, True], [0.0, 1.0])
    """
    fits, arrays = _fitting(columns, cells)
    if arrays is None:
        return fits, from_cells(columns, [one for one, fit in zip(cells, fits, strict=True) if fit], rows_of)
    return fits, from_arrays(columns, arrays, rows_of)


def _fitting(columns: tuple[Column, ...], cells: Sequence[Mapping[str, Cell]]) -> tuple[Bool, Arrays | None]:
    """Which cells fit, and their numbers if all do; looked at together, for nearly all do."""
    arrays = _fit(columns, _gathered(columns, cells))
    if arrays is not None:
        return np.ones(len(cells), np.bool_), arrays
    alone = [_fit(columns, _gathered(columns, [one])) is not None for one in cells]
    return np.array(alone, np.bool_), None


def _fit(columns: tuple[Column, ...], cells: _Gathered) -> Arrays | None:
    return _arrays(columns, cells) if _are_cells(columns, cells) else None


def _arrays(columns: tuple[Column, ...], cells: _Gathered) -> Arrays | None:
    lists = {
        column.name: _joined(column, cells[column.name]) for column in columns if column not in fixed(columns)
    }
    return arrays_of(columns, _rows(packing(columns), cells[PACKED]), lists)


def _joined(column: Column, cells: list[Any]) -> Lists:
    sizes = np.fromiter(map(len, cells), np.int64, len(cells))
    return Lists(sizes, b"".join(cells) if column.ref is None else list(chain.from_iterable(cells)))


def _gathered(columns: tuple[Column, ...], cells: Sequence[Mapping[str, Cell]]) -> _Gathered:
    # Only programs of before wrote rows that are not packed; to ask of each row costs more than to read it.
    cells = [one if PACKED in one or not one else packed(columns, one) for one in cells]
    rest = [column for column in columns if column not in fixed(columns)]
    out = {
        column.name: [one.get(column.name, empty) for one in cells]
        for column in rest
        for empty in (_EMPTY[column.ref is not None],)
    }
    return {PACKED: [one.get(PACKED, b"") for one in cells], **out}


# -- reading -------------------------------------------------------------------------------------------------


def _are_cells(columns: tuple[Column, ...], cells: _Gathered) -> bool:
    """Whether all cells have the type and the width of their columns: what `arrays_of` takes for granted."""
    if not _has(cells[PACKED], bytes, {0, packing(columns).itemsize}):
        return False
    for column in columns:
        if column in fixed(columns):
            continue
        width = 1 if column.ref is not None else width_of(column)
        most = (column.most if column.ragged else 1) * width
        lengths = {length for length in map(len, cells[column.name]) if length <= most}
        if not _has(cells[column.name], bytes if column.ref is None else list, lengths):
            return False
    return True


def _has(cells: list[Any], kind: type, lengths: set[int]) -> bool:
    return set(map(type, cells)) <= {kind} and set(map(len, cells)) <= lengths


def arrays_of(
    columns: tuple[Column, ...], rows: npt.NDArray[Any], lists: Mapping[str, Lists]
) -> Arrays | None:
    """The numbers of n rows, whose packed cells are `rows` (n,) and whose others are `lists`; None where one
    is not finite, or columns of one list differ in length.

    Example:
        >>> columns = (Column("n", "i4"),)
        >>> arrays_of(columns, np.frombuffer(b"\\2\\1\\0\\0", packing(columns)), {})
        {'n': array([258], dtype=int32)}
    """
    layout = _layout(columns)
    # Copies: what is read may be written to, and kernels are compiled for such arrays.
    out: Arrays = {name: rows[name].astype(dtype) for name, dtype in layout.fixed}
    for ragged, group in layout.lists:
        if ragged:
            lengths = _lists(group, lists, out)
            if lengths is None:
                return None
            out[ragged] = lengths
        else:
            out |= {column.name: lists[column.name] for column in group}
    return out if all(_is_finite(out[name]) for name in layout.numbers) else None


def from_arrays(columns: tuple[Column, ...], arrays: Arrays, rows_of: RowsOf, n_empty: int = 0) -> Columns:
    """What `Part.adopt` takes, out of `arrays_of` n rows, and `n_empty` more that hold nothing."""
    layout = _layout(columns)
    out: Columns = {name: arrays[name] for name, _ in layout.fixed}
    for ragged, group in layout.lists:
        if ragged:
            _ragged_columns(ragged, group, arrays, rows_of, out)
        else:
            out |= {column.name: _referred(column, arrays[column.name], rows_of) for column in group}
    for key in layout.by_row if n_empty else ():
        blank = np.zeros((n_empty, *out[key].shape[1:]), out[key].dtype)
        out[key] = np.concatenate([out[key], blank])
    return out


def chosen_rows(columns: tuple[Column, ...], came: Columns, chosen: Bool) -> Columns:
    """Of what `Part.adopt` takes for n rows that for the `chosen` (n,).

    Example:
        >>> columns = (Column("n", "i4"), Column("near", "i4", ("near_n",), ref="item"))
        >>> came = {"n": np.array([3, 4]), "near_n": np.array([1, 2]), "near": np.array([7, 8, 9])}
        >>> some = chosen_rows(columns, came, np.array([False, True]))
        >>> some["n"].tolist(), some["near_n"].tolist(), some["near"].tolist()
        ([4], [2], [8, 9])
    """
    out: Columns = {}
    for group in _by_dimension(columns):
        which, name = chosen, group[0].ragged
        if name:
            out[name], which = came[name][chosen], np.repeat(chosen, came[name])
        out |= {column.name: came[column.name][which] for column in group}
    return out


def _rows(dtype: np.dtype[Any], cells: list[bytes]) -> npt.NDArray[Any]:
    data = b"".join(cells)
    if len(data) != len(cells) * dtype.itemsize:
        zeros = bytes(dtype.itemsize)
        data = b"".join([one or zeros for one in cells])
    return np.frombuffer(data, dtype)


def _referred(column: Column, cells: Lists, rows_of: RowsOf) -> npt.NDArray[Any]:
    out = np.full(cells.sizes.size, -1, column.dtype)
    out[cells.sizes > 0] = rows_of(str(column.ref), cells.entries)
    return out


def _lists(group: Sequence[Column], lists: Mapping[str, Lists], out: Arrays) -> npt.NDArray[np.int64] | None:
    """The entries of columns of one dimension, one row after the other, and how many each row has."""
    lengths: npt.NDArray[np.int64] | None = None
    for column in group:
        counts, entries = lists[column.name]
        if column.ref is not None:
            out[column.name] = entries
        else:
            width = width_of(column)
            if (counts % width).any():
                return None
            counts = counts // width
            numbers = np.frombuffer(entries, _wire(column)).astype(column.dtype)
            out[column.name] = numbers.reshape(-1, *column.shape[1:])
        if lengths is not None and (counts != lengths).any():
            return None
        lengths = counts
    return lengths


def _ragged_columns(
    name: str, group: Sequence[Column], arrays: Arrays, rows_of: RowsOf, out: Columns
) -> None:
    lengths = arrays[name]
    kept = np.ones(int(lengths.sum()), np.bool_)
    for column in group:
        out[column.name] = arrays[column.name]
        if column.ref is not None:
            out[column.name] = rows_of(column.ref, arrays[column.name]).astype(column.dtype)
            kept &= out[column.name] >= 0
    if not kept.all():
        for column in group:
            out[column.name] = out[column.name][kept]
        before = np.concatenate([[0], np.cumsum(kept)])
        ends = np.cumsum(lengths)
        lengths = before[ends] - before[ends - lengths]
    out[name] = lengths.astype(np.int32)


_EMPTY: tuple[bytes, list[str]] = (b"", [])


def _is_finite(values: npt.NDArray[Any]) -> bool:
    if values.dtype.kind == "f":
        return are_finite(values)
    return values.dtype != np.int64 or are_times(values)


# -- writing -------------------------------------------------------------------------------------------------


def _pack(columns: tuple[Column, ...], exported: Columns, rows: npt.NDArray[Any]) -> Bool:
    """Fill packed `rows` (n,); which of them hold anything, settings aside."""
    held = np.zeros(rows.size, np.bool_)
    for column in fixed(columns):
        array = exported[column.name]
        rows[column.name] = array
        if not column.setting:
            held |= (array if array.ndim == 1 else array.reshape(rows.size, -1).any(axis=1)).astype(np.bool_)
    return held


def _packed_cells(columns: tuple[Column, ...], exported: Columns, cells: list[Cells]) -> None:
    """Of rows that hold anything: settings alone are nothing, but whatever else there is needs them."""
    rows = np.empty(len(cells), packing(columns))
    held = _pack(columns, exported, rows)
    data, width = rows.tobytes(), rows.itemsize
    has_settings = any(column.setting for column in fixed(columns))
    for row, (one, is_held) in enumerate(zip(cells, held.tolist(), strict=True)):
        if is_held or (has_settings and one):
            one[PACKED] = data[row * width : (row + 1) * width]


def _references(group: list[Column], exported: Columns, names_of: NamesOf, cells: list[Cells]) -> None:
    for column in group:
        if column.ref is not None:
            for one, name in zip(cells, names_of(column.ref, exported[column.name]), strict=True):
                if name is not None:
                    one[column.name] = [name]


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
        width = width_of(column)
        data = exported[column.name][kept].astype(_wire(column), copy=False).tobytes()
        for row, low, high in cuts:
            cells[row][column.name] = data[low * width : high * width]


class _Layout(NamedTuple):
    """What reading asks of columns, worked out once: in a small round that took longer than the reading."""

    fixed: list[tuple[str, np.dtype[Any]]]
    """Names and types of the columns in the packed cell."""
    lists: list[tuple[str, list[Column]]]
    """The other columns, by ragged dimension; those without one refer to rows."""
    numbers: list[str]
    """Columns that hold numbers of their own."""
    by_row: list[str]
    """What has an entry for each row: columns without a ragged dimension, and the lengths of the others."""


@lru_cache(1_024)
def _layout(columns: tuple[Column, ...]) -> _Layout:
    rest = [column for column in columns if column not in fixed(columns)]
    return _Layout(
        [(column.name, np.dtype(column.dtype)) for column in fixed(columns)],
        [(group[0].ragged, group) for group in _by_dimension(tuple(rest))],
        [column.name for column in columns if column.ref is None],
        list(dict.fromkeys(column.ragged or column.name for column in columns)),
    )


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
