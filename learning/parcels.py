"""Between a part's tables, which refer to item rows, and parcels, which name items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from learners.errors import LearnerError, ReplicaError
from learners.part import Columns, PartSpec, check_columns
from learners.table import EmbeddingTable
from stream.parcels import ITEM, Parcel

__all__ = ["joined", "opened", "packed"]

Bool = npt.NDArray[np.bool_]
Int32 = npt.NDArray[np.int32]


def joined(spec: PartSpec, pieces: Sequence[Mapping[str, Columns]]) -> dict[str, Columns]:
    """The tables that a part has given piece by piece, as one; pieces without them say nothing.

    Example:
        >>> from learners import Column, Table
        >>> samples = Table((Column("user", "i4", ref="users"), Column("item", "i4", ref="item")), ("item",))
        >>> spec = PartSpec(parcel={"users": Table((Column("bias", "f4"),)), "samples": samples})
        >>> piece = {"users": {"bias": np.ones(2)}, "samples": {"user": np.arange(2), "item": np.arange(2)}}
        >>> joined(spec, [piece, {}, piece])["samples"]["user"].tolist()
        [0, 1, 2, 3]
    """
    told = [piece for piece in pieces if spec.parcel.keys() <= piece.keys()]
    if len(told) < 2:
        return {name: dict(told[0][name]) for name in spec.parcel} if told else {}
    ends = {name: np.cumsum([0, *[_rows(piece[name]) for piece in told]]).tolist() for name in spec.parcel}
    out: dict[str, Columns] = {name: {} for name in spec.parcel}
    for name, table in spec.parcel.items():
        for column in table.columns:
            arrays = [piece[name][column.name] for piece in told]
            if column.ref in ends:  # places in a table of the same parcel, which is longer now
                arrays = [
                    (array + first).astype(array.dtype)
                    for array, first in zip(arrays, ends[column.ref], strict=False)
                ]
            out[name][column.name] = np.concatenate(arrays)
    return out


def packed(
    part: str, spec: PartSpec, tables: Mapping[str, Columns], items: EmbeddingTable, ts: int = 0
) -> Parcel:
    """A parcel out of tables that refer to item rows; rows of tables whose item nobody owns are left out.

    Example:
        >>> from learners import Column, Table
        >>> spec = PartSpec(parcel={"pairs": Table((Column("item", "i4", ref="item"),), ("item",))})
        >>> items = EmbeddingTable(2)
        >>> _ = items.rows(["tea", "mate"], ts=5)
        >>> parcel = packed("p", spec, {"pairs": {"item": np.array([1, -1, 1], np.int32)}}, items)
        >>> parcel.names, parcel.tables["pairs"]["item"].tolist()
        (['mate'], [0, 0])
    """
    held = np.append(_owned(items), False)
    used, kept = np.zeros(items.size + 1, np.bool_), {}
    for name, columns in tables.items():
        rows = np.ones(_rows(columns), np.bool_)
        refs = _item_columns(spec, name)
        for column in refs:
            rows &= held[columns[column]]
        kept[name] = rows
        for column in refs:
            used[columns[column][rows]] = True
    used[-1] = False
    number = (np.cumsum(used) - 1).astype(np.int32)
    names = [str(name) for name in items.ids_of(np.flatnonzero(used).astype(np.int32))]
    # Tables that others refer to stay whole until routing takes what is referred to.
    out = {
        name: {key: array[kept[name]] for key, array in columns.items()} for name, columns in tables.items()
    }
    for name, columns in out.items():
        for column in _item_columns(spec, name):
            columns[column] = number[columns[column]]
    referring = {
        name: {column.name: column.ref for column in spec.parcel[name].columns if column.ref is not None}
        for name in out
    }
    to = {name: places for name in out if (places := spec.parcel[name].to)}
    return Parcel(part, names, out, referring, to, ts)


def opened(
    spec: PartSpec,
    parcel: Parcel,
    items: EmbeddingTable,
    is_foreign: Bool,
    rows: Int32 | None = None,
) -> dict[str, Columns]:
    """The tables with rows of `items` again; -1 for an item of here that has none.

    Items of other partitions (`is_foreign` (names,)) are given rows: they were admitted where they belong.
    `rows` (names,), if they are known already, are those that the names have before; they change.
    """
    rows = items.find_many(parcel.names) if rows is None else rows
    foreign = np.flatnonzero(is_foreign)
    if foreign.size:
        has_row = rows[foreign] >= 0
        items.touch(rows[foreign[has_row]], parcel.ts)
        new = foreign[~has_row]
        names = [parcel.names[n] for n in new.tolist()]
        none_reserved = np.zeros(new.size, np.bool_)  # those rows are for items of this partition
        rows[new] = items.admit_each(names, [parcel.ts] * len(names), none_reserved)
    wrong = parcel.tables.keys() - spec.parcel.keys() or spec.parcel.keys() - parcel.tables.keys()
    if wrong:
        msg = f"parcel of {parcel.part!r}: expected tables {', '.join(spec.parcel)}; {min(wrong)!r} differs"
        raise LearnerError(msg)
    out = {name: dict(columns) for name, columns in parcel.tables.items()}
    for name, columns in out.items():
        try:
            check_columns(spec.parcel[name].columns, parcel.n_rows(name), columns)
        except ReplicaError as error:
            msg = f"parcel of {parcel.part!r}, {name}: {error}; give all workers the same settings"
            raise LearnerError(msg) from error
        for column in _item_columns(spec, name):
            numbers = columns[column]
            if numbers.size and not 0 <= int(numbers.min()) <= int(numbers.max()) < rows.size:
                msg = f"parcel of {parcel.part!r}: {name}.{column} names an item beyond its {rows.size} ids"
                raise LearnerError(msg)
            columns[column] = rows[numbers]
    return out


def _item_columns(spec: PartSpec, table: str) -> Sequence[str]:
    return [column.name for column in spec.parcel[table].columns if column.ref == ITEM]


def _rows(columns: Columns) -> int:
    return len(next(iter(columns.values()))) if columns else 0


def _owned(items: EmbeddingTable) -> Bool:
    out = np.zeros(items.size, np.bool_)
    out[items.live] = True
    return out
