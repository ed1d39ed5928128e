"""What parts hold, by id: comparable whatever the rows are numbered and whichever way it came."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from learners.part import Column, Columns, Part, Side
from learning.parts import Parts
from learning.rows.packed_cells import Cells, unpacked
from learning.rows.part_columns import to_cells

__all__ = ["Told", "rows_of", "told", "told_of"]

Told = dict[str, dict[str, npt.NDArray[Any]]]
"""By id, and then by column, what is not zero; entries of a ragged dimension are in order of the first."""

_ONE = np.zeros(1, np.int32)


def rows_of(parts: Parts, side: Side) -> npt.NDArray[np.int32]:
    """The rows that somebody owns; the only one of "shared"."""
    if side == "shared":
        return _ONE
    return (parts.users if side == "user" else parts.items).live


def told(part: Part, parts: Parts, side: Side) -> Told:
    """All that a part holds of a side; of "shared" under the id ""."""
    rows = rows_of(parts, side)
    return told_of(part.spec.sides[side], parts, side, part.export(side, rows))


def told_of(columns: tuple[Column, ...], parts: Parts, side: Side, exported: Mapping[str, Any]) -> Told:
    """The same of what was exported for `rows_of`; settings are left out."""
    if side == "shared":
        return {"": {column.name: exported[column.name] for column in columns}}
    names = parts.names_of(side, rows_of(parts, side))
    kept = tuple(column for column in columns if not column.setting)
    cells = to_cells(kept, len(names), dict(exported), parts.names_of)
    return {str(name): _read(kept, unpacked(kept, one)) for name, one in zip(names, cells, strict=True)}


def _read(columns: tuple[Column, ...], cells: Cells) -> dict[str, npt.NDArray[Any]]:
    found: Columns = {}
    for column in columns:
        cell = cells.get(column.name)
        if cell is not None:
            found[column.name] = (
                np.array(cell) if isinstance(cell, list) else np.frombuffer(cell, column.dtype)
            )
    for dimension in {column.ragged for column in columns if column.ragged}:
        group = [c for c in columns if c.ragged == dimension and c.name in found]
        # By ids and whole numbers; what is a sum comes last, for it may differ a little.
        group.sort(key=lambda column: np.dtype(column.dtype).kind == "f")
        order = np.lexsort([found[column.name] for column in reversed(group)]) if group else ()
        for column in group:
            found[column.name] = found[column.name][order]
    return found
