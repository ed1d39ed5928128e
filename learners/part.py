"""What a part is: one thing that learns, with all that engines, replicas and topics need to know of it.

A part says in its `PartSpec` what replicas need of it, by side: a row for each user, a row for each item, or
columns that all share. Everything else follows from that: the embedded frames, the rows on Kafka, restarts
and removals. The columns are the same on every way; embedded, rows stand by number, on Kafka by id.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from learners.errors import LearnerError, ReplicaError
from learners.rows import RowBlock
from stream.errors import PartError
from stream.events import ItemEvent
from stream.frame import Frame

__all__ = [
    "SIDES",
    "Column",
    "Columns",
    "Part",
    "PartSpec",
    "Side",
    "Table",
    "check_columns",
    "learns_lists",
    "naming",
    "with_arrays",
]

Int32 = npt.NDArray[np.int32]
Columns = dict[str, npt.NDArray[Any]]
"""Arrays by column name; the lengths (n,) int32 of a ragged dimension stand under the dimension's name."""

Side = Literal["user", "item", "shared"]
SIDES: tuple[Side, ...] = get_args(Side)

_NO_ROWS = np.zeros(0, np.int32)
_NO_COLUMNS: Mapping[Any, Any] = MappingProxyType({})


@contextmanager
def naming(part: str, doing: str = "learned") -> Iterator[None]:
    """What a part raises while it learns, or was `doing` something else, ends the process with its name.

    Raises:
        PartError: something was raised.

    Example:
        >>> with naming("mine"):
        ...     _ = 1 / 0
        Traceback (most recent call last):
        stream.errors.PartError: part 'mine' raised while it learned: ZeroDivisionError('division by zero')
    """
    try:
        yield
    except PartError:
        raise
    except Exception as error:
        msg = f"part {part!r} raised while it {doing}: {error!r}"
        raise PartError(msg) from error


class Column(NamedTuple):
    """One number, or array of numbers, of each row.

    `shape` is what a row has of it; a word as its first entry names a ragged dimension: rows differ in
    length, and columns that name the same dimension have the same lengths. With `ref` "item" or "user" the
    numbers are rows of that table here and become its ids on the wire; in a parcel they may also be places in
    another of its tables. `merge` matters for shared columns: "owner" has one writer, of "sum" each partition
    has a share, and whoever follows adds them. Where shares are tables, their ragged dimension has one column
    of merge "key": entries of one key are added. A `setting` says how the other columns are to be read (a
    half-life, a reference): alone it is no reason to write a row. Of a column with `expects` every row has
    that value, or was written under other settings; `named` says what these are called. A ragged dimension
    has at most `most` entries.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...] = ()
    ref: str | None = None
    merge: Literal["owner", "sum", "key"] = "owner"
    setting: bool = False
    expects: tuple[int, ...] | None = None
    most: int = 2**31 - 1
    named: tuple[str, ...] = ()

    @property
    def ragged(self) -> str:
        """The name of its ragged dimension; empty where it has none.

        Example:
            >>> Column("neighbours", "i4", ("neighbour",)).ragged, Column("bias", "f4").ragged
            ('neighbour', '')
        """
        first = self.shape[0] if self.shape else 0
        return first if isinstance(first, str) else ""


class Table(NamedTuple):
    """Columns that an owner of users sends to owners of items.

    A row goes to the owners of the items in its columns `to`, once to each; of a table with none every owner
    gets the rows that those of other tables refer to. Tables whose `to` is None go to all owners, whole.
    """

    columns: tuple[Column, ...]
    to: tuple[str, ...] | None = ()


@dataclass(frozen=True, slots=True)
class PartSpec:
    """What replicas need by side, what owners of users send to owners of items, and which parts it reads.

    Raises:
        LearnerError: a side, a name or a dtype that cannot be.

    Example:
        >>> spec = PartSpec({"item": (Column("bias", "<f4"),)})
        >>> [column.name for column in spec.sides["item"]]
        ['bias']
    """

    sides: Mapping[Side, tuple[Column, ...]] = field(default_factory=dict)
    parcel: Mapping[str, Table] = field(default_factory=dict)
    needs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what no row could carry."""
        for side, columns in self.sides.items():
            if side not in SIDES:
                msg = f"a part has sides {', '.join(SIDES)}; got {side!r}"
                raise LearnerError(msg)
            _check_names(side, columns)
        for table, (columns, to) in self.parcel.items():
            _check_names(table, columns)
            wrong = set(to or ()) - {column.name for column in columns if column.ref == "item"}
            if wrong:
                msg = f"table {table!r} is routed by {sorted(wrong)[0]!r}, no column of it with ref 'item'"
                raise LearnerError(msg)
        if len({table.to is None for table in self.parcel.values()}) > 1:
            msg = "a parcel goes to all owners or where its items are: `to` is None for all tables or none"
            raise LearnerError(msg)


def _check_names(where: str, columns: tuple[Column, ...]) -> None:
    names = [column.name for column in columns] + list({c.ragged for c in columns if c.ragged})
    twice = {name for name in names if names.count(name) > 1 or name in {"rows", ""}}
    if twice:
        msg = f"{where}: a column or dimension is called {sorted(twice)[0]!r} twice, or as no other may be"
        raise LearnerError(msg)
    for column in columns:
        if np.dtype(column.dtype).kind not in "iufb":
            msg = f"{where}: column {column.name!r} holds numbers or booleans, not {column.dtype!r}"
            raise LearnerError(msg)
    keyed = [column.ragged for column in columns if column.merge == "key"]
    if len(keyed) != len({*keyed} - {""}):
        msg = f"{where}: a column of merge 'key' has a ragged dimension, and is the only one of it"
        raise LearnerError(msg)


class Part:
    """A base whose hooks do nothing: a part writes those that it needs, and nobody asks what class it is.

    Learning: `learn_users` runs where a block's users are owned and returns what the owners of its items
    need, by table of the spec's `parcel`, all of them or none; so does `tick`. `learn_items` runs where items
    are owned; `learn_lists` where whole slates are learned in one order. `inbox` holds what the parts in
    `needs` returned for the same block.

    Replication: `touched` says which rows changed, `export` gives their columns, `adopt` takes them over on a
    replica. A removed row is touched, too: it exports what a new row has.

    Example:
        >>> class Clicks(Part):
        ...     spec = PartSpec({"item": (Column("clicks", "i8"),)})
        ...     def __init__(self):
        ...         self.clicks, self.new = np.zeros(9, np.int64), [4]
        ...     def touched(self, side):
        ...         rows, self.new = np.array(self.new, np.int32), []
        ...         return rows
        ...     def export(self, side, rows):
        ...         return {"clicks": self.clicks[rows]}
        ...     def adopt(self, side, rows, columns):
        ...         self.clicks[rows] = columns["clicks"]
        >>> here, there = Clicks(), Clicks()
        >>> here.clicks[4] = 7
        >>> there.apply(here.changes())
        >>> int(there.clicks[4]), here.changes()
        (7, {})
    """

    spec: PartSpec = PartSpec()
    reads_inputs: ClassVar[bool] = False
    """Whether `learn_lists` reads `RowBlock.item_keys` and `RowBlock.request`. Only then do lists carry them
    to TRAIN, and there is nothing else to know an item by."""

    learns_late: ClassVar[bool] = False
    """Whether its `learn_lists` may come later than what users and items learn of the same events, in the
    same order: for what takes long. The embedded learner then commits clicks first, and calls it between
    commits."""

    reads_clicks_alone: ClassVar[bool] = False
    """Whether `learn_lists` passes over lists as they are shown and as they close. Where that goes for all
    parts, TRAIN does not put together what they would pass over."""

    # -- learning --------------------------------------------------------------------------------------------

    def learn_both(
        self, block: RowBlock, inbox: Mapping[str, Mapping[str, Columns]]
    ) -> Mapping[str, Columns]:
        """Learn a block where users and items have one owner: both sides in turn, or a fused kernel that does
        the same; returns what `learn_users` does."""
        told = self.learn_users(block, inbox)
        tables = {name: told[name] for name in self.spec.parcel if name in told} if told else told
        self.learn_items(block, tables)
        return told

    def learn_users(
        self, block: RowBlock, inbox: Mapping[str, Mapping[str, Columns]]
    ) -> Mapping[str, Columns]:
        """Learn the users' side of a block; what the items' owners need of it."""
        return _NO_COLUMNS

    def learn_items(self, block: RowBlock, parcel: Mapping[str, Columns]) -> None:
        """Learn the items' side of a block, and what came in a parcel; either may be empty."""

    def put_items(self, rows: Int32, items: Sequence[ItemEvent]) -> None:
        """The catalogue has taken these items into distinct `rows` (n,), where they are owned.

        Each replaces what was sent before, and a deleted one leaves nothing of it. It is for learners of
        `[[learners]]`; in time it comes before or after outcomes, as it stands in the log.
        """

    def learn_lists(self, block: RowBlock) -> None:
        """Learn whole slates, in the one order of their topic: what is no sum keeps it in shared columns.

        On Kafka the step `train` calls this, with blocks that hold decided slates alone: logged features,
        clicks and ends, no row of a table and no context. Where it cannot keep up it gets a share of the
        slates without a click: whoever learns from those, at their ends, weighs each by `block.stands_for`.

        Embedded it is called with all slates: skip those that are not `decided`, and read no row. With
        `reads_inputs` features are rounded to float16 there, too, as they travel.
        """

    def tick(self, now_ms: int) -> Mapping[str, Columns] | None:
        """Event time has reached `now_ms`; where users are owned, what the items' owners need of it.

        `learn_items` gets that with an empty block, on one machine, too.
        """
        return None

    def remove(self, side: Side, rows: Int32) -> None:
        """Forget these rows; they may be given to others."""

    # -- replication -----------------------------------------------------------------------------------------

    def touched(self, side: Side) -> Int32:
        """The rows that changed since the last call, ascending; of "shared" one row or none."""
        return _NO_ROWS

    def export(self, side: Side, rows: Int32) -> Columns:
        """The columns of `rows` (n,), as the spec has them; of "shared" the columns themselves."""
        return {}

    def adopt(self, side: Side, rows: Int32, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """On a replica: take over these columns of `rows` (n,)."""

    def check_shared(self, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """Before shared columns of another program are adopted: types and shapes are right already.

        Raises:
            LearnerError: they do not fit each other; `bandits.PolicyError` will do, too.
        """

    def check_parcel(self, tables: Mapping[str, Columns]) -> None:
        """As `check_shared`, before `learn_items` gets the tables of a parcel."""

    def notes(self) -> Columns:
        """What the measures read: alarms and figures, small. A note called `…_items` holds item rows, and
        measures get their ids; one called `…_items_…` belongs to it and has as many numbers."""
        return {}

    def changes(self) -> Frame:
        """What changed since the last call, by side; sides without a change are left out."""
        frame: Frame = {}
        for side in self.spec.sides:
            rows = self.touched(side)
            if rows.size:
                frame[side] = {"rows": rows, **self.export(side, rows)}
        return frame

    def apply(self, frame: Frame) -> None:
        """On a replica: take over one `changes()`; frames come in commit order. `removed` rows go first.

        Raises:
            ReplicaError: the frame has other columns than the spec.
        """
        frame = self.upgraded(frame)
        for side, rows in frame.get("removed", _NO_COLUMNS).items():
            self.remove(side, rows)
        for side in SIDES:
            if side in frame:
                columns = dict(frame[side])
                rows = columns.pop("rows")
                if side == "shared":
                    columns = with_arrays(self.spec.sides[side], columns)
                check_columns(self.spec.sides[side], rows.size, columns, shared=side == "shared")
                self.adopt(side, rows, columns)

    def upgraded(self, frame: Frame) -> Frame:
        """A frame that an older program wrote, in the form of now; others as they are."""
        return frame

    # -- state -----------------------------------------------------------------------------------------------

    def snapshot(self) -> Frame:
        """A copy of all state, which may be more than replicas need."""
        return {}

    def restore(self, frame: Frame) -> None:
        """Become the state that `snapshot` described."""


def learns_lists(part: Part) -> bool:
    """Whether a part learns whole lists, in the one order of their topic.

    Example:
        >>> learns_lists(Part())
        False
    """
    return type(part).learn_lists is not Part.learn_lists


def check_columns(
    columns: tuple[Column, ...], n: int, came: Mapping[str, npt.NDArray[Any]], *, shared: bool = False
) -> None:
    """That arrays are those of `columns` for `n` rows; more columns than these are let pass.

    Raises:
        ReplicaError: one is missing, or has another type or shape.

    Example:
        >>> check_columns((Column("bias", "f4"),), 2, {"bias": np.zeros(3, np.float32)})
        Traceback (most recent call last):
        learners.errors.ReplicaError: column 'bias': expected float32 of shape (2,), got float32 of shape (3,)
    """
    lengths = _shared_lengths(columns, came) if shared else _lengths(columns, n, came)
    for name, dtype, rest, ragged in _expected(columns):
        array = came.get(name)
        wanted: tuple[Any, ...] = rest if shared else (lengths[ragged] if ragged else n, *rest)
        fits = array is not None and array.dtype == dtype
        if fits and array is not None:
            is_list = shared and ragged
            fits = (array.ndim > 0 and array.shape[1:] == rest) if is_list else array.shape == wanted
        if not fits:
            msg = f"column {name!r}: expected {dtype} of shape {wanted}, got {_kind_of(array)}"
            raise ReplicaError(msg)


@lru_cache(1_024)
def _expected(
    columns: tuple[Column, ...],
) -> tuple[tuple[str, np.dtype[Any], tuple[int | str, ...], str], ...]:
    """Of each column its name, type, shape behind the rows, and ragged dimension: asked in every round."""
    return tuple(
        (c.name, np.dtype(c.dtype), tuple(c.shape[1:] if c.ragged else c.shape), c.ragged) for c in columns
    )


def _lengths(columns: tuple[Column, ...], n: int, came: Mapping[str, npt.NDArray[Any]]) -> dict[str, int]:
    """How many entries `n` rows have of each ragged dimension."""
    lengths: dict[str, int] = {}
    for name in {ragged for _, _, _, ragged in _expected(columns) if ragged}:
        found = came.get(name)
        if found is None or found.shape != (n,) or found.dtype.kind != "i" or (found < 0).any():
            msg = f"lengths {name!r}: expected {n} of them, got {_kind_of(found)}"
            raise ReplicaError(msg)
        lengths[name] = int(found.sum())
    return lengths


def _shared_lengths(columns: tuple[Column, ...], came: Mapping[str, npt.NDArray[Any]]) -> dict[str, int]:
    """The length of each ragged dimension of shared columns, which stands nowhere else."""
    lengths: dict[str, int] = {}
    for column in columns:
        found = came.get(column.name)
        if column.ragged and found is not None and found.ndim:
            n = lengths.setdefault(column.ragged, len(found))
            if len(found) != n or n > column.most:
                msg = f"column {column.name!r}: expected {n} entries, at most {column.most}, got {len(found)}"
                raise ReplicaError(msg)
    return lengths


def with_arrays(columns: tuple[Column, ...], came: Mapping[str, Any]) -> Columns:
    """Shared columns with single numbers as arrays again: frames carry those as plain numbers.

    Example:
        >>> with_arrays((Column("n", "i8"),), {"n": 5, "more": "x"})
        {'n': array(5)}
    """
    found = {column: came[column.name] for column in columns if column.name in came}
    return {
        column.name: np.array(value, column.dtype) if isinstance(value, int | float) else value
        for column, value in found.items()
    }


def _kind_of(array: npt.NDArray[Any] | None) -> str:
    return "nothing" if array is None else f"{array.dtype} of shape {array.shape}"
