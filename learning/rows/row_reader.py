"""Rows with the parts that a follower has, read by code that is compiled for just these.

Whoever follows reads millions of rows. A row's parts as dictionaries would cost several times as much as all
the rest of it, so a reader makes classes with one attribute for each part and each of its cells.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Annotated, Any, Generic, Literal, TypeVar, cast

import msgspec
from msgspec import Meta

from learners.part import Column, Part, Side
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
from learning.rows.packed_cells import PACKED, Cell, Cells, fixed, packed, packing, width_of
from learning.rows.part_columns import Gathered
from stream.frame import FRAME_SCHEMA, MALFORMED

__all__ = ["RowReader", "side_columns"]

R = TypeVar("R", UserRow, ItemRow, PolicyRow)

_DECODERS: Mapping[type, Any] = {
    UserRow: decode_user_row, ItemRow: decode_item_row, PolicyRow: decode_policy_row,
}  # fmt: skip
_STRUCT: Mapping[str, Any] = {"frozen": True, "gc": False, "kw_only": True}
_UNNAMED = re.compile(r'[\\"\x00-\x1f]')
_MOST_UNKNOWN = 256  # names of parts and cells; further ones are skipped


class RowReader(Generic[R]):
    """Reads the rows of one topic. `parts` of such a row is a struct, which `cells` looks into.

    What rows hold beyond the known parts and columns is kept, too: a reader learns such names as they come.
    Rows of older versions become rows of now.

    Args:
        kind: of rows.
        columns: of the known parts, by the name that these have in rows.

    Attributes:
        columns: as given.
        unknown: names of parts that rows have held and that are not among the known ones.

    Example:
        >>> reader = RowReader(UserRow, {"mf": (Column("bias", "f4"),)})
        >>> rows = [UserRow(user_id="ann", parts={"mf": {"": b"1234"}, "mine": {"x": b"1"}}),
        ...         UserRow(user_id="bob")]
        >>> read = [reader.read(encode_row(row)) for row in rows]
        >>> reader.cells("mf", read), reader.unknown
        ({'': [b'1234', b'\\x00\\x00\\x00\\x00']}, {'mine'})
        >>> decode_user_row(encode_row(read[0])) == rows[0]
        True
    """

    def __init__(self, kind: type[R], columns: Mapping[str, tuple[Column, ...]]) -> None:
        self.columns: Mapping[str, tuple[Column, ...]] = columns
        self.unknown: set[str] = set()
        self._kind: type[R] = kind
        self._decode_any = _DECODERS[kind]
        names = _cell_names(columns)
        self._part_of = {name: attrgetter(f"parts.p{n}") for n, name in enumerate(columns)}
        self._cell_of = {
            name: {cell: attrgetter(f"c{n}") for n, cell in enumerate(cells)} for name, cells in names.items()
        }
        self._packed_of = {
            name: attrgetter(f"parts.p{n}.c{len(cells) - 1}") for n, (name, cells) in enumerate(names.items())
        }
        self._more: dict[str, list[str]] = {name: [] for name in columns}  # cells that only rows know
        self._n_unknown = 0
        self._exact: set[type] = set()
        self._decode = self._decoder(exact=True)

    def _decoder(self, *, exact: bool) -> Any:
        """What reads rows with the names known by now; `exact`, only those whose cells have the right types
        and widths, and no other names while there may be more."""
        strict = {**_STRUCT, "omit_defaults": True}
        strict["forbid_unknown_fields"] = exact and self._n_unknown < _MOST_UNKNOWN
        names: dict[str, str] = {}
        fields: list[tuple[str, Any, Any]] = []
        for n, (name, columns) in enumerate(self.columns.items()):
            more: tuple[Any, Any] = Cell, b""
            kinds = {**_fields(columns, exact=exact), **dict.fromkeys(self._more[name], more)}
            cells = [(f"c{at}", kind, default) for at, (kind, default) in enumerate(kinds.values())]
            rename = {f"c{at}": cell for at, cell in enumerate(kinds)}
            part = msgspec.defstruct(f"Part{n}", cells, rename=rename, **strict)
            fields.append((f"p{n}", part, part()))
            names[f"p{n}"] = name
        for n, name in enumerate(sorted(filter(_can_be_named, self.unknown))):
            fields.append((f"u{n}", Cells, {}))
            names[f"u{n}"] = name
        parts = msgspec.defstruct("Parts", fields, rename=names, **strict)
        row = msgspec.defstruct(
            self._kind.__name__,
            [
                ("schema", Literal[FRAME_SCHEMA], FRAME_SCHEMA),
                ("layout", Literal[ROW_VERSION], msgspec.field(name="version", default=ROW_VERSION)),
                ("parts", parts, parts()),
            ],
            bases=(self._kind,),
            tag_field="kind",
            tag=self._kind.__struct_config__.tag,
            **_STRUCT,
        )
        if exact:
            self._exact.add(row)
        return msgspec.msgpack.Decoder(row).decode

    # -- reading ---------------------------------------------------------------------------------------------

    def read(self, value: bytes) -> R:
        """A row; that its own columns fit together is for `check` to say.

        Raises:
            FrameError: the bytes are no such row, are damaged, or were written by a newer program.
        """
        try:
            row: R = self._decode(value)
        except MALFORMED:
            return self._read_any(value)
        return row

    def _read_any(self, value: bytes) -> R:
        """Rows of older versions, those with names that are new here, and those that are none."""
        row = self._decode_any(value)
        parts = {
            name: packed(self.columns.get(name, ()), {at: cells[at] for at in filter(_can_be_named, cells)})
            for name, cells in row.parts.items()
        }
        if self._note_names(parts):
            self._decode = self._decoder(exact=True)
        named = {name: parts[name] for name in filter(_can_be_named, parts)}
        value = encode_row(msgspec.structs.replace(row, layout=ROW_VERSION, parts=named))
        try:
            return cast(R, self._decode(value))
        except MALFORMED:  # a cell is none of its column
            return cast(R, self._decoder(exact=False)(value))

    def _note_names(self, parts: Mapping[str, Cells]) -> bool:
        """Whether there are new ones among the names of parts and cells."""
        before = self._n_unknown
        for name, cells in parts.items():
            if self._n_unknown >= _MOST_UNKNOWN:
                break
            if name not in self.columns:
                self._n_unknown += name not in self.unknown
                self.unknown.add(name)
                continue
            new = cells.keys() - self._cell_of[name].keys() - set(self._more[name])
            self._more[name] += sorted(new)
            self._n_unknown += len(new)
        return self._n_unknown > before

    # -- what rows hold --------------------------------------------------------------------------------------

    def are_exact(self, rows: Sequence[R]) -> bool:
        """Whether all cells of known parts are known to have the types and widths of their columns."""
        return set(map(type, rows)) <= self._exact

    def is_exact(self, row: R) -> bool:
        """As `are_exact`, of one row."""
        return type(row) in self._exact

    def cells(self, name: str, rows: Sequence[R]) -> Gathered:
        """By name of a cell of a known part, that of each of `rows`; empty or zeros where a row has none."""
        if len(self._cell_of[name]) == 1:
            return {PACKED: list(map(self._packed_of[name], rows))}
        parts = list(map(self._part_of[name], rows))
        return {cell: list(map(get, parts)) for cell, get in self._cell_of[name].items()}

    def packed_of(self, name: str) -> Callable[[R], Cell]:
        """What gives of a row the packed cell of a known part."""
        return self._packed_of[name]


def side_columns(parts: Mapping[str, Part], side: Side) -> dict[str, tuple[Column, ...]]:
    """The columns of those parts that keep something by row of a side.

    Example:
        >>> from learners.parts.history import Histories
        >>> [column.name for column in side_columns({"history": Histories()}, "user")["history"]]
        ['items', 'ts']
    """
    return {name: part.spec.sides[side] for name, part in parts.items() if side in part.spec.sides}


def _can_be_named(name: str) -> bool:
    """Whether an attribute can have this name in rows; what no program of ours writes is not kept."""
    return not _UNNAMED.search(name)


def _cell_names(columns: Mapping[str, tuple[Column, ...]]) -> dict[str, list[str]]:
    return {
        name: [*(column.name for column in of if column not in fixed(of)), PACKED]
        for name, of in columns.items()
    }


def _fields(columns: tuple[Column, ...], *, exact: bool) -> dict[str, tuple[Any, Any]]:
    """By name of a cell the type and the default of its attribute."""
    found: dict[str, tuple[Any, Any]] = {}
    kind: Any
    for column in columns:
        most = column.most if column.ragged else 1
        if column.ref is not None:
            kind = Annotated[list[str], Meta(max_length=most)] if exact else Cell
            found[column.name] = kind, []
        elif column.ragged:
            kind = Annotated[bytes, Meta(max_length=most * width_of(column))] if exact else Cell
            found[column.name] = kind, b""
    width = packing(columns).itemsize
    one: Any = Annotated[bytes, Meta(min_length=width, max_length=width)]
    # Zeros, for to join cells of one width is faster than to replace those that are empty.
    return {**found, PACKED: (one if exact else Cell, bytes(width))}
