"""The names of parts and cells that rows of a topic have, as tables for the scan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from learners.part import Column
from learning.ops.row_scan import BYTES, IDS, PACKED_CELL
from learning.rows.codec import ROW_VERSION
from learning.rows.packed_cells import PACKED, Cells, expected, fixed, packing, width_of
from stream.frame import FRAME_SCHEMA

__all__ = ["RowNames", "Tables"]

Int64 = npt.NDArray[np.int64]

_MOST_UNKNOWN = 256  # names of parts and cells; further ones are skipped
_SKIPPED = (-1, 0, 0, 0, 0)


class Tables(NamedTuple):
    """What `scan_rows` takes of the same names."""

    heads: Any
    head_places: Int64
    wanted: Int64
    names: Any
    places: Int64
    parts: Int64
    rules: Int64
    settings: Int64
    lenient: bool


class RowNames:
    """Names that are known by now; others are learned as they come, for rows with new ones are read slowly.

    Args:
        kind: of rows, as they say it.
        columns: of the known parts, by the name that these have in rows.

    Attributes:
        cells: by part and cell, which number it has among those that are looked for.
        unknown: names of parts that rows have held and that are not among the known ones.
        tables: for the scan.

    Example:
        >>> names = RowNames("user", {"mf": (Column("bias", "f4"),)})
        >>> names.note({"mf": {"": b"1234", "later": b""}, "mine": {"": b""}})
        >>> names.cells, names.unknown
        ({('mf', ''): 0}, {'mine'})
    """

    def __init__(self, kind: str, columns: Mapping[str, tuple[Column, ...]]) -> None:
        self._kind, self._columns = kind, columns
        self.cells: dict[tuple[str, str], int] = {}
        for name, of in columns.items():
            for cell in _cells(of):
                self.cells[name, cell] = len(self.cells)
        self.unknown: set[str] = set()
        self._more: dict[str, list[str]] = {name: [] for name in columns}
        self._n_unknown = 0
        self.tables = self._tables()

    def note(self, parts: Mapping[str, Cells]) -> None:
        """Learn the names of parts and cells that a row has."""
        before = self._n_unknown
        for name, cells in parts.items():
            if self._n_unknown >= _MOST_UNKNOWN:
                break
            if name not in self._columns:
                self._n_unknown += name not in self.unknown
                self.unknown.add(name)
                continue
            new = sorted(cells.keys() - set(_cells(self._columns[name])) - set(self._more[name]))
            self._more[name] += new
            self._n_unknown += len(new)
        if self._n_unknown > before:
            self.tables = self._tables()

    def _tables(self) -> Tables:
        named = [*self._columns, *sorted(self.unknown)]
        rules = [_SKIPPED] * len(named)
        parts = [(0, 0)] * len(named)
        settings: list[tuple[int, int, int]] = []
        blob = _Blob(named)
        for n, (name, columns) in enumerate(self._columns.items()):
            cells = [*_cells(columns), *self._more[name]]
            parts[n] = len(blob.places), len(cells)
            for cell in cells:
                blob.add(cell.encode())
                number = self.cells.get((name, cell))
                rules.append(_SKIPPED if number is None else (number, *_rule(columns, cell, len(settings))))
                if cell == PACKED and number is not None:
                    settings += [(one.place.start, *blob.tail(one.mine)) for one in expected(columns)]
        own = "user_id" if self._kind == "user" else "item_id"
        heads = _Blob([own, "entered_at", "parts", "schema", "version", "kind", self._kind])
        return Tables(
            *heads.arrays(),
            np.array([FRAME_SCHEMA, ROW_VERSION], np.int64),
            *blob.arrays(),
            np.array(parts, np.int64).reshape(-1, 2),
            np.array(rules, np.int64).reshape(-1, 5),
            np.array(settings, np.int64).reshape(-1, 3),
            self._n_unknown >= _MOST_UNKNOWN,
        )


class _Blob:
    """Texts one after the other, and where each stands."""

    def __init__(self, texts: list[str]) -> None:
        self._data = b""
        self.places: list[tuple[int, int]] = []
        for text in texts:
            self.add(text.encode())

    def add(self, text: bytes) -> None:
        self.places.append(self.tail(text))

    def tail(self, data: bytes) -> tuple[int, int]:
        at = len(self._data)
        self._data += data
        return at, len(data)

    def arrays(self) -> tuple[Any, Int64]:
        places = np.array(self.places, np.int64).reshape(-1, 2)
        return np.frombuffer(self._data + b"\0", np.uint8), places


def _cells(columns: tuple[Column, ...]) -> list[str]:
    rest = [column.name for column in columns if column not in fixed(columns)]
    return [*rest, PACKED] if fixed(columns) else rest


def _rule(columns: tuple[Column, ...], cell: str, n_settings: int) -> tuple[int, int, int, int]:
    """Kind, width or most, and which settings the packed cell says."""
    if cell == PACKED:
        return PACKED_CELL, packing(columns).itemsize, n_settings, n_settings + len(expected(columns))
    (column,) = (column for column in columns if column.name == cell)
    most = column.most if column.ragged else 1
    return (IDS, most, 0, 0) if column.ref is not None else (BYTES, most * width_of(column), 0, 0)
