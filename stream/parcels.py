"""What a users' owner sends to items' owners for a part: tables of numbers, cut by the homes of their items.

A parcel says itself which of its columns refer to what, so it is routed and cut without knowing the part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import msgspec
import numpy as np
import numpy.typing as npt

from stream.columns import are_finite, are_times
from stream.errors import FrameError
from stream.frame import MALFORMED, Frame

__all__ = ["ITEM", "Parcel", "halves", "parcel_frame", "revive_parcel", "routed"]

Int32 = npt.NDArray[np.int32]
Bool = npt.NDArray[np.bool_]
Columns = dict[str, npt.NDArray[Any]]

ITEM = "item"
"""What a column refers to whose numbers are places in `Parcel.names`."""


@dataclass(slots=True, eq=False)
class Parcel:
    """Tables of one part, by name; every column of a table has a row for each of its rows.

    `refs` says of table and column what its numbers refer to: `ITEM`, or another table. `to` says of a table
    by which columns it is routed: a row goes once to the owner of each item in them. A table without `to`
    goes along with what refers to it; a parcel without any goes whole to everybody. `ts` is event time, ms.
    """

    part: str
    names: list[str]
    tables: dict[str, Columns]
    refs: dict[str, dict[str, str]] = field(default_factory=dict)
    to: dict[str, tuple[str, ...]] = field(default_factory=dict)
    ts: int = 0

    def __len__(self) -> int:
        """Rows of its largest routed table."""
        return max((self.n_rows(table) for table in self.to), default=0)

    def n_rows(self, table: str) -> int:
        """Rows of a table."""
        columns = self.tables[table]
        return len(next(iter(columns.values()))) if columns else 0

    def referring(self, target: str) -> list[tuple[str, str]]:
        """Tables and columns that refer to `target`."""
        return [
            (table, column)
            for table, refs in self.refs.items()
            for column, to in refs.items()
            if to == target
        ]


def routed(parcel: Parcel, home: Int32, n_partitions: int) -> dict[int, Parcel]:
    """What each of so many partitions gets, in order; `home` (names,) is the partition of each name.

    Example:
        >>> pairs = {"one": np.array([0, 1]), "other": np.array([1, 1])}
        >>> parcel = Parcel("p", ["tea", "mate"], {"pairs": pairs}, {"pairs": {"one": ITEM, "other": ITEM}},
        ...                 {"pairs": ("one", "other")})
        >>> found = routed(parcel, np.array([0, 1], np.int32), 2)
        >>> [(p, len(mine), mine.names) for p, mine in found.items()]
        [(0, 1, ['tea', 'mate']), (1, 2, ['tea', 'mate'])]
    """
    if not parcel.to:
        return dict.fromkeys(range(n_partitions), parcel)
    goes = {name: [home[parcel.tables[name][column]] for column in to] for name, to in parcel.to.items()}
    present = np.unique(np.concatenate([np.zeros(0, np.int32), *(p for of in goes.values() for p in of)]))
    found = {}
    for partition in present.tolist():
        masks = {name: np.logical_or.reduce([p == partition for p in of]) for name, of in goes.items()}
        found[partition] = _taken(parcel, masks)
    return found


def halves(parcel: Parcel) -> tuple[Parcel, Parcel]:
    """The two halves of a parcel of two rows or more, each with what it refers to."""
    first = {name: np.arange(parcel.n_rows(name)) < (parcel.n_rows(name) + 1) // 2 for name in parcel.to}
    return _taken(parcel, first), _taken(parcel, {name: ~mask for name, mask in first.items()})


def _taken(parcel: Parcel, masks: Mapping[str, Bool]) -> Parcel:
    """The rows of `masks`, and of the other tables those that they refer to, numbered anew."""
    tables = {
        name: {key: array[mask] for key, array in parcel.tables[name].items()} for name, mask in masks.items()
    }
    for name in parcel.tables.keys() - masks.keys():
        used = _renumber(parcel, name, parcel.n_rows(name), tables)
        tables[name] = {key: array[used] for key, array in parcel.tables[name].items()}
    used = _renumber(parcel, ITEM, len(parcel.names), tables)
    names = [parcel.names[n] for n in used.tolist()]
    return Parcel(parcel.part, names, tables, parcel.refs, parcel.to, parcel.ts)


def _renumber(parcel: Parcel, target: str, size: int, tables: dict[str, Columns]) -> Any:
    """Which of `size` are referred to; what refers to them then says their place among these."""
    referring = [(tables[table], column) for table, column in parcel.referring(target) if table in tables]
    is_used = np.zeros(size, np.bool_)
    for table, column in referring:
        is_used[table[column]] = True
    number = (np.cumsum(is_used) - 1).astype(np.int32)
    for table, column in referring:
        table[column] = number[table[column]]
    return np.flatnonzero(is_used)


# -- as a frame ----------------------------------------------------------------------------------------------


class _Stored(msgspec.Struct):
    part: str
    names: list[str]
    tables: dict[str, dict[str, Any]]
    refs: dict[str, dict[str, str]]
    to: dict[str, tuple[str, ...]]
    ts: int


def parcel_frame(parcel: Parcel) -> Frame:
    """What `revive_parcel` reads."""
    return {
        "part": parcel.part,
        "names": parcel.names,
        "tables": {name: dict(columns) for name, columns in parcel.tables.items()},
        "refs": {table: dict(refs) for table, refs in parcel.refs.items()},
        "to": {table: list(to) for table, to in parcel.to.items()},
        "ts": parcel.ts,
    }


def revive_parcel(frame: Frame) -> Parcel:
    """Read back what `parcel_frame` gave.

    Raises:
        FrameError: something is missing, is no column of finite numbers, or points beyond what it refers to.

    Example:
        >>> parcel = Parcel("p", ["tea"], {"t": {"item": np.array([1], np.int32)}}, {"t": {"item": ITEM}})
        >>> revive_parcel(parcel_frame(parcel))
        Traceback (most recent call last):
        stream.errors.FrameError: parcel of 'p': t.item points beyond the 1 of item
    """
    try:
        # Arrays pass as they are: only what stands around them is looked at here.
        stored = msgspec.convert(frame, _Stored)
    except MALFORMED as error:
        msg = f"a parcel lacks something or holds something else: {error}"
        raise FrameError(msg) from error
    found = Parcel(stored.part, stored.names, stored.tables, stored.refs, stored.to, stored.ts)
    if not are_times(np.array([found.ts], object)):
        _damaged(found, "ts lies beyond what milliseconds can say")
    for name, columns in found.tables.items():
        _check_table(found, name, columns)
    for table, column in [(t, c) for t, to in found.to.items() for c in to]:
        if found.refs.get(table, {}).get(column) != ITEM:
            _damaged(found, f"{table}.{column} routes it and is no column that refers to items")
    for table, refs in found.refs.items():
        for column, target in refs.items():
            _check_reference(found, table, column, target)
    return found


def _check_table(parcel: Parcel, name: str, columns: Columns) -> None:
    for column, array in columns.items():
        if not isinstance(array, np.ndarray) or array.ndim < 1 or array.dtype.kind not in "iufb":
            _damaged(parcel, f"{name}.{column} is no column of numbers")
        if array.dtype.kind == "f" and not are_finite(array):
            _damaged(parcel, f"{name}.{column} holds what is no finite number")
        if array.dtype.str == "<i8" and not are_times(array):
            _damaged(parcel, f"{name}.{column} holds numbers of more than 62 bits")
        columns[column] = array.copy()  # kernels are compiled apart for arrays that may not be written
    if len({len(array) for array in columns.values()}) > 1:
        _damaged(parcel, f"the columns of {name} differ in length")


def _check_reference(parcel: Parcel, table: str, column: str, target: str) -> None:
    array = parcel.tables.get(table, {}).get(column)
    if (
        array is None
        or array.ndim != 1
        or array.dtype.kind != "i"
        or (target != ITEM and target not in parcel.tables)
    ):
        _damaged(parcel, f"{table}.{column} refers to {target!r}, and one of them is not there")
    size = len(parcel.names) if target == ITEM else parcel.n_rows(target)
    if array.size and not 0 <= int(array.min()) <= int(array.max()) < size:
        _damaged(parcel, f"{table}.{column} points beyond the {size} of {target}")


def _damaged(parcel: Parcel, what: str) -> NoReturn:
    msg = f"parcel of {parcel.part!r:.60}: {what}"
    raise FrameError(msg)
