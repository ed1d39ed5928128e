"""Rows with the parts that a follower has: bytes until a round, and read together then by machine code.

Whoever follows reads millions of rows. What is just as expected is only looked through for where its cells
lie (`learning.ops.row_scan`); all else is read as dictionaries, and becomes such a row if it can.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from learners.ids import IdList
from learners.part import Column, Part, Side
from learning.ops.row_scan import copy_cells, copy_ranges, scan_rows
from learning.rows.alike import check_lists, check_settings
from learning.rows.checks import check_id
from learning.rows.codec import (
    ROW_VERSION,
    ItemRow,
    PolicyRow,
    UserRow,
    decode_item_row,
    decode_policy_row,
    decode_user_row,
    encode_row,
)
from learning.rows.packed_cells import PACKED, packed, packing
from learning.rows.part_columns import Lists
from learning.rows.row_names import RowNames
from stream.errors import FrameError

__all__ = ["RowReader", "side_columns"]

R = TypeVar("R", UserRow, ItemRow, PolicyRow)
Int64 = npt.NDArray[np.int64]

_DECODERS: Mapping[type, Any] = {
    UserRow: decode_user_row, ItemRow: decode_item_row, PolicyRow: decode_policy_row,
}  # fmt: skip
_BEHIND = bytes(16)  # the scan looks so far beyond a row before it sees that this has ended


class _Chunk(NamedTuple):
    """Rows that came together: their bytes, where each cell lies in them (n, cells, 3), and when items were
    entered (n,)."""

    data: bytes
    found: Int64
    entered: Int64


class RowReader(Generic[R]):
    """Reads the rows of one topic, and keeps them until `clear`; each has a number, from 0 on.

    What rows hold beyond the known parts and columns is passed over. Rows of older versions are read as rows
    of now.

    Args:
        kind: of rows.
        columns: of the known parts, by the name that these have in rows.
        spared: parts that a row is read without where they were written under other settings; for another
            such part the row cannot be taken.

    Attributes:
        columns: as given.
        misfits: by part how its settings differ in the newest rows that hold it; replaced, never changed.
        n_misfits: rows that were read without a part.
        names: ids of the rows that are kept.
        values: those rows, as they came.

    Example:
        >>> reader = RowReader(UserRow, {"mf": (Column("bias", "i4"),)})
        >>> rows = [UserRow(user_id="ann", parts={"mf": {"": b"\\1\\0\\0\\0"}, "mine": {"x": b"1"}}),
        ...         UserRow(user_id="bob")]
        >>> reader.read(["ann", "bob"], [b"ann", b"bob"], [encode_row(row) for row in rows])
        [0, 1]
        >>> reader.numbers([0, 1])["mf"]["bias"].tolist(), reader.unknown
        ([1, 0], {'mine'})
    """

    def __init__(
        self, kind: type[R], columns: Mapping[str, tuple[Column, ...]], spared: Collection[str] = ()
    ) -> None:
        self.columns: Mapping[str, tuple[Column, ...]] = columns
        self._spared = frozenset(spared)
        self.misfits: Mapping[str, str] = {}
        self.n_misfits = 0
        self._decode: Any = _DECODERS[kind]
        self._known = RowNames(str(kind.__struct_config__.tag), columns)
        # Looked up once: in a small round this costs as much as the reading.
        cells = self._known.cells
        self._packed: list[tuple[str, np.dtype[Any], int | None]] = [
            (name, packing(of), cells.get((name, PACKED))) for name, of in columns.items()
        ]
        ids = {(name, column.name) for name, of in columns.items() for column in of if column.ref is not None}
        self._lists = [
            (name, cell, at, (name, cell) in ids) for (name, cell), at in cells.items() if cell != PACKED
        ]
        self.clear()

    def clear(self) -> None:
        """Keep no rows any more."""
        self.names: list[str] = []
        self.values: list[bytes] = []
        self._unfit: set[int] = set()
        self._chunks: list[_Chunk] = []

    @property
    def unknown(self) -> set[str]:
        """Names of parts that rows have held and that are not among the known ones."""
        return self._known.unknown

    # -- reading ---------------------------------------------------------------------------------------------

    def read(
        self, names: Sequence[str], keys: Sequence[bytes], values: Sequence[bytes]
    ) -> list[int | FrameError]:
        """The numbers of rows, which are of the ids `names`, and these in UTF-8; instead of some, why they
        cannot be taken."""
        chunk, fits = self._scan(keys, values)
        first = len(self.values)
        read: list[int | FrameError] = list(range(first, first + len(values)))
        odd = np.flatnonzero(~fits).tolist()
        last: dict[str, int] = {}  # by part the newest row in which it does not fit
        if odd:
            now = list(values)
            for n in odd:
                try:
                    now[n] = self._as_of_now(names[n], values[n], n, last)
                except FrameError as error:
                    read[n] = error
            chunk, fits = self._scan(keys, now)
            chunk.found[~fits] = 0
            self._unfit.update((first + np.flatnonzero(~fits)).tolist())
        if self.misfits:
            self._excuse(chunk, last)
        self.names += names
        self.values += values
        self._chunks.append(chunk)
        return read

    def read_again(self, name: str, value: bytes) -> int:
        """The number of a row that could be taken before."""
        told = self.misfits, self.n_misfits
        (read,) = self.read([name], [name.encode()], [value])
        self.misfits, self.n_misfits = told
        if isinstance(read, FrameError):
            raise read
        return read

    def _scan(self, keys: Sequence[bytes], values: Sequence[bytes]) -> tuple[_Chunk, npt.NDArray[np.bool_]]:
        n = len(values)
        data = b"".join([*values, _BEHIND])
        found = np.zeros((n, len(self._known.cells), 3), np.int64)
        entered, fits = np.zeros(n, np.int64), np.zeros(n, np.bool_)
        scan_rows(
            np.frombuffer(data, np.uint8), _ends(values),
            np.frombuffer(b"".join([*keys, b"\0"]), np.uint8), _ends(keys),
            *self._known.tables, found, entered, fits,
        )  # fmt: skip
        return _Chunk(data, found, entered), fits

    def _as_of_now(self, name: str, value: bytes, n: int, last: dict[str, int]) -> bytes:
        """Rows of older versions, and those with names that are new here, as the scan can read them; `last`
        takes `n` for the parts that do not fit.

        Raises:
            FrameError: the bytes are no such row, or one of another id, or were written by a newer program
                or under other settings.
        """
        row = self._decode(value)
        check_id(name, row.user_id if isinstance(row, UserRow) else row.item_id)
        parts = {part: packed(self.columns.get(part, ()), cells) for part, cells in row.parts.items()}
        self._known.note(parts)
        for part, columns in self.columns.items():
            try:
                check_settings(part, columns, parts.get(part, {}))
                if part in self._spared:
                    check_lists(part, columns, parts.get(part, {}))
            except FrameError as error:
                last[part] = n
                self._tell(part, str(error))
                if part not in self._spared:
                    raise
                parts[part] = {}
        self.n_misfits += any(at == n for at in last.values())
        for cells in parts.values():
            if cells.get(PACKED) == b"":  # as good as none
                del cells[PACKED]
        return encode_row(msgspec.structs.replace(row, layout=ROW_VERSION, parts=parts))

    def _tell(self, part: str, why: str) -> None:
        why = why.removeprefix(f"{part}: ")
        if self.misfits.get(part) != why:
            self.misfits = {**self.misfits, part: why}

    def _excuse(self, chunk: _Chunk, last: Mapping[str, int]) -> None:
        """Parts that fit again in newer rows: rows of before, which stay in the topic, say nothing of now."""
        cells = self._known.cells
        for part in list(self.misfits):
            mine = [at for (name, _), at in cells.items() if name == part]
            held = np.flatnonzero((chunk.found[:, mine, 0] > 0).any(axis=1))
            if held.size and held[-1] > last.get(part, -1):
                self.misfits = {name: why for name, why in self.misfits.items() if name != part}

    # -- what rows hold --------------------------------------------------------------------------------------

    def fitting(self, numbers: list[int]) -> list[int]:
        """Those of these rows whose cells all have the types and widths of their columns."""
        return [n for n in numbers if n not in self._unfit] if self._unfit else numbers

    def entered_at(self, numbers: Sequence[int]) -> Int64:
        """As `ItemRow.entered_at`, of some rows (n,)."""
        return self._kept().entered[np.array(numbers, np.int64)] if numbers else np.zeros(0, np.int64)

    def numbers(self, numbers: Sequence[int]) -> dict[str, npt.NDArray[Any]]:
        """By known part the packed cells of some rows (n,); zeros where a row has none."""
        kept, rows = self._kept(), np.array(numbers, np.int64)
        data, out = np.frombuffer(kept.data, np.uint8), {}
        starts = kept.found[rows, :, 0]
        for name, dtype, at in self._packed:
            cells = np.empty((rows.size, dtype.itemsize), np.uint8)
            if at is not None:
                copy_cells(data, starts[:, at].copy(), cells)
            out[name] = cells.view(dtype).reshape(rows.size) if at is not None else cells
        return out

    def lists(self, numbers: Sequence[int]) -> dict[str, dict[str, Lists]]:
        """By known part and column the other cells of some rows (n,)."""
        kept, rows = self._kept(), np.array(numbers, np.int64)
        data = np.frombuffer(kept.data, np.uint8)
        out: dict[str, dict[str, Lists]] = {name: {} for name in self.columns}
        for name, cell, at, refers in self._lists:
            starts, lengths, sizes = kept.found[rows, at].T.copy()
            entries = np.empty(int(sizes.sum()), np.uint8)
            copy_ranges(data, starts, sizes, entries)
            out[name][cell] = Lists(lengths, IdList(int(lengths.sum()), entries.data) if refers else entries)
        return out

    def _kept(self) -> _Chunk:
        """All rows as one chunk."""
        if len(self._chunks) != 1:
            bases = list(accumulate((len(chunk.data) for chunk in self._chunks), initial=0))
            for chunk, base in zip(self._chunks, bases, strict=False):
                starts = chunk.found[:, :, 0]
                starts[starts > 0] += base
            width = len(self._known.cells)
            found = [np.zeros((0, width, 3), np.int64), *(chunk.found for chunk in self._chunks)]
            entered = [np.zeros(0, np.int64), *(chunk.entered for chunk in self._chunks)]
            data = b"".join(chunk.data for chunk in self._chunks)
            self._chunks = [_Chunk(data, np.concatenate(found), np.concatenate(entered))]
        return self._chunks[0]


def side_columns(parts: Mapping[str, Part], side: Side) -> dict[str, tuple[Column, ...]]:
    """The columns of those parts that keep something by row of a side.

    Example:
        >>> from learners.parts.history import Histories
        >>> [column.name for column in side_columns({"history": Histories()}, "user")["history"]]
        ['items', 'ts']
    """
    return {name: part.spec.sides[side] for name, part in parts.items() if side in part.spec.sides}


def _ends(texts: Sequence[bytes]) -> Int64:
    """Where each begins when they stand one after the other, and where the last one ends."""
    ends = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)), out=ends[1:])
    return ends
