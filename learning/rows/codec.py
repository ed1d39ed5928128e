"""Rows by id: what the compacted topics hold of users, items and policies, whole and one an id.

Each value is a frame (`stream.frame`): a MessagePack map with `schema`, `kind` and `version`, the number of
the layout. Columns of numbers are bytes, little-endian; docs/reference/rows.md describes every field for
programs of others. Rows are decoded by compiled code, some millions of fields a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Annotated, Any, NoReturn, TypeGuard, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta, Raw, field

from learning.rows.before import (
    upgraded_graph,
    upgraded_item,
    upgraded_policy,
    upgraded_table,
    upgraded_user,
)
from learning.rows.packed_cells import Cells
from stream.errors import FrameError, NewerFrameError
from stream.frame import FRAME_SCHEMA, MALFORMED, Frame, pack, unpack

__all__ = [
    "CONTROL_KINDS",
    "PROGRESS_KEY",
    "ROW_VERSION",
    "ItemRow",
    "PolicyRow",
    "Progress",
    "Row",
    "UserRow",
    "decode_control",
    "decode_item_row",
    "decode_policy_row",
    "decode_progress",
    "decode_user_row",
    "encode_control",
    "encode_row",
    "encode_rows",
]

ROW_VERSION = 3
"""Number of the layout of rows; a reader refuses newer ones."""

_WITH_PARTS = 2  # before, rows named a field for each thing learned

PROGRESS_KEY = b""
"""Key of the progress row of a partition; ids are never empty."""

CONTROL_KINDS = ("ranker", "centroids", "measures", "history", "part", "progress", "pace")

Float32 = npt.NDArray[np.float32]
Count = Annotated[int, Meta(ge=0, le=2**62)]
Time = Annotated[int, Meta(ge=-(2**62), le=2**62)]
Id = Annotated[str, Meta(min_length=1)]
# Also refuses what is not a number: one such bias would make every score with it unusable.
Number = Annotated[float, Meta(ge=-3e38, le=3e38)]


class Row(msgspec.Struct, frozen=True, gc=False, kw_only=True, tag_field="kind"):
    """What all rows begin with; `layout` is `ROW_VERSION` of whoever wrote it."""

    schema: int = FRAME_SCHEMA
    layout: int = field(name="version", default=ROW_VERSION)


class UserRow(Row, frozen=True, gc=False, kw_only=True, tag="user"):
    """All that is served of a user.

    `parts` holds by name what each part has of the user (`learning.rows.part_columns`).
    """

    user_id: Id
    parts: dict[str, Cells] = {}


class ItemRow(Row, frozen=True, gc=False, kw_only=True, tag="item"):
    """All that is served of an item, except its policies and what its owner said of it.

    As `UserRow`; `entered_at` is the event time in ms at which the catalogue first had it, 0 if it has not.
    """

    item_id: Id
    entered_at: Time = 0
    parts: dict[str, Cells] = {}


class PolicyRow(Row, frozen=True, gc=False, kw_only=True, tag="policy"):
    """All that policies know of an item.

    `parts` holds by the policy's name what it has learned, and as `graph` the clusters in which the item may
    be chosen now.
    """

    item_id: Id
    parts: dict[str, Cells] = {}


class Progress(Row, frozen=True, gc=False, kw_only=True, tag="progress"):
    """How far a partition has come: everything acknowledged up to `absorbed_at` (wall clock, ms) is in its
    rows; `watermark` is the time of the events in them, in ms.

    `clicks` and `items` say when those events were accepted that this transaction's rows, which stand before
    this one, were the first to know (`stream.accepted.read_times`); whoever was not there then need not ask.
    `trains` says of a partition of users that lists go to the step TRAIN, which has a mark of its own.
    """

    absorbed_at: Time = 0
    watermark: Time = 0
    clicks: bytes = b""
    items: bytes = b""
    trains: bool = False


R = TypeVar("R", bound=Row)

_encode = msgspec.msgpack.Encoder().encode
_users = msgspec.msgpack.Decoder(UserRow)
_items = msgspec.msgpack.Decoder(ItemRow)
_policies = msgspec.msgpack.Decoder(PolicyRow)
_progress = msgspec.msgpack.Decoder(Progress)
_WRONG = (*MALFORMED, RecursionError)


def encode_row(row: Row) -> bytes:
    """A row as the value of its record.

    Example:
        >>> decode_progress(encode_row(Progress(absorbed_at=7, watermark=5))).absorbed_at
        7
    """
    return _encode(row)


def encode_rows(
    kind: type[UserRow | ItemRow | PolicyRow],
    ids: Sequence[str],
    parts: Sequence[bytes],
    entered_at: Sequence[int] | None = None,
) -> list[bytes]:
    """As `encode_row` of many rows, whose `parts` are MessagePack maps already; items have entered, too.

    Example:
        >>> encode_rows(UserRow, ["ann"], [b"\\x80"]) == [encode_row(UserRow(user_id="ann"))]
        True
    """
    named: dict[str, Any] = {"user_id" if kind is UserRow else "item_id": "\0", "parts": Raw(b"")}
    before, _, behind = _encode(kind(**named)).partition(_encode("\0"))
    columns: list[Iterable[bytes]] = [repeat(before), map(_encode, ids)]
    if entered_at is not None:
        name, _, behind = behind.partition(_encode(0))
        columns += [repeat(name), map(_encode, entered_at)]
    return list(map(b"".join, zip(*columns, repeat(behind), parts, strict=False)))


def decode_user_row(value: bytes) -> UserRow:
    """A row of `user-vectors`.

    Raises:
        FrameError: the bytes are no such row, are damaged, or were written by a newer program.

    Example:
        >>> row = UserRow(user_id="ann", parts={"history": {"items": ["tea"], "ts": bytes(8)}})
        >>> decode_user_row(encode_row(row)) == row
        True
    """
    row = _decoded(value, _users)
    if row.layout < ROW_VERSION:
        parts = row.parts if row.layout >= _WITH_PARTS else upgraded_user(value)
        row = msgspec.structs.replace(row, layout=ROW_VERSION, parts={**parts, **upgraded_table(value)})
    return row


def decode_item_row(value: bytes) -> ItemRow:
    """A row of `item-vectors`.

    Raises:
        FrameError: the bytes are no such row, are damaged, or were written by a newer program.

    Example:
        >>> row = ItemRow(item_id="tea", parts={"mf": {"": bytes(4)}})
        >>> decode_item_row(encode_row(row)) == row
        True
    """
    row = _decoded(value, _items)
    if row.layout < ROW_VERSION:
        parts = row.parts if row.layout >= _WITH_PARTS else upgraded_item(value)
        row = msgspec.structs.replace(row, layout=ROW_VERSION, parts={**parts, **upgraded_table(value)})
    return row


def decode_policy_row(value: bytes) -> PolicyRow:
    """A row of `policy`.

    Raises:
        FrameError: the bytes are no such row, are damaged, or were written by a newer program.

    Example:
        >>> row = PolicyRow(item_id="tea", parts={"thompson": {"shown": np.array([3], "<i8").tobytes()}})
        >>> decode_policy_row(encode_row(row)) == row
        True
    """
    row = _decoded(value, _policies)
    if row.layout < ROW_VERSION:
        parts = row.parts if row.layout >= _WITH_PARTS else upgraded_policy(value)
        row = msgspec.structs.replace(
            row, layout=ROW_VERSION, parts={**parts, **upgraded_graph(value, parts)}
        )
    return row


def decode_progress(value: bytes) -> Progress:
    """The row with the key `PROGRESS_KEY`.

    Raises:
        FrameError: the bytes are no such row, are damaged, or were written by a newer program.
    """
    return _decoded(value, _progress)


def encode_control(kind: str, state: Frame) -> bytes:
    """A row of `control`: the whole state of the ranker, the centroids, a partition's measures, how far TRAIN
    has come, or history in a partition of `events`, or the mark by which JOIN's partitions keep in step.

    Example:
        >>> decode_control(encode_control("ranker", {"steps": 3}))
        ('ranker', {'steps': 3})
    """
    return pack({"kind": kind, "version": ROW_VERSION, "state": state})


def decode_control(value: bytes) -> tuple[str, Frame]:
    """Kind and state of a row of `control`.

    Raises:
        FrameError: the bytes are no such row, are damaged, or were written by a newer program.
    """
    frame = unpack(value)
    kind, version, state = frame.get("kind"), frame.get("version"), frame.get("state")
    if not isinstance(version, int) or not isinstance(state, dict) or not _is_control(kind):
        msg = f"expected a row of kind {' or '.join(CONTROL_KINDS)}, got {kind!r:.40}, version {version!r:.9}"
        raise FrameError(msg)
    if version > ROW_VERSION:
        _newer(kind, version)
    return kind, state


def _is_control(kind: object) -> TypeGuard[str]:
    return isinstance(kind, str) and kind in CONTROL_KINDS


def _decoded(value: bytes, decoder: msgspec.msgpack.Decoder[R]) -> R:
    try:
        row = decoder.decode(value)
    except _WRONG as error:
        kind = str(decoder.type.__struct_config__.tag)
        _refuse(value, kind, error)
    if row.layout > ROW_VERSION or row.schema != FRAME_SCHEMA:
        _refuse(value, str(row.__struct_config__.tag), None)
    return row


def _refuse(value: bytes, kind: str, error: BaseException | None) -> NoReturn:
    """Say what came instead of a row of this kind."""
    frame: Any = unpack(value)
    came, version = frame.get("kind"), frame.get("version")
    if isinstance(came, str) and came == kind and isinstance(version, int) and version > ROW_VERSION:
        _newer(kind, version)
    msg = f"expected a row of kind {kind!r}, got kind {came!r:.60}: {error}"
    raise FrameError(msg) from error


def _newer(kind: str, version: int) -> NoReturn:
    msg = f"{kind} row of version {version}: this program reads 1 to {ROW_VERSION}; use a newer one"
    raise NewerFrameError(msg)
