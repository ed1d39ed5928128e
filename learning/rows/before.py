"""Rows of before, by column: those of version 1 named each thing learned, until 3 also graph and tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, TypeVar

import msgspec
import numpy as np
from msgspec import Meta

from learning.rows.packed_cells import Cells
from stream.errors import FrameError

__all__ = ["upgraded_graph", "upgraded_item", "upgraded_policy", "upgraded_table", "upgraded_user"]

_Count = Annotated[int, Meta(ge=0, le=2**62)]
_Time = Annotated[int, Meta(ge=-(2**62), le=2**62)]
_Number = Annotated[float, Meta(ge=-3e38, le=3e38)]


class _User(msgspec.Struct):
    bias: _Number = 0.0
    recent: list[str] = []
    recent_at: bytes = b""


class _Popular(msgspec.Struct):
    half_lives_ms: list[_Count]
    reference: bytes
    weights: bytes
    clicks: _Count = 0
    first_at: _Time = 0
    last_at: _Time = 0


class _Neighbours(msgspec.Struct):
    half_life_ms: _Count
    reference: _Time = 0
    degree: _Number = 0.0
    ids: list[str] = []
    weights: bytes = b""


class _Item(msgspec.Struct):
    bias: _Number = 0.0
    popularity: _Popular | None = None
    neighbours: _Neighbours | None = None


class _Graph(msgspec.Struct):
    serving: bytes = b""
    affinities: bytes = b""


class _Table(msgspec.Struct):
    vector: bytes
    vector_version: _Count = 0
    clicks: _Count = 0
    impressions: _Count = 0
    touched_at: _Time = 0


class _Policy(msgspec.Struct):
    shown: _Count = 0
    clusters: bytes = b""
    b: bytes = b""
    d: bytes = b""
    arms: dict[str, tuple[_Count, _Number]] = {}


T = TypeVar("T")

_users = msgspec.msgpack.Decoder(_User)
_items = msgspec.msgpack.Decoder(_Item)
_policies = msgspec.msgpack.Decoder(_Policy)
_tables = msgspec.msgpack.Decoder(_Table)
_graphs = msgspec.msgpack.Decoder(_Graph)


def upgraded_user(value: bytes) -> dict[str, Cells]:
    """The parts of a user's row.

    Raises:
        FrameError: its columns differ in length, or hold something else than they should.

    Example:
        >>> upgraded_user(msgspec.msgpack.encode({"recent": ["tea"], "recent_at": bytes(8)}))
        {'history': {'items': ['tea'], 'ts': b'\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00'}}
    """
    row = _read(_users, value)
    parts: dict[str, Cells] = {}
    if row.bias:
        parts["mf"] = {"bias": _f4(row.bias)}
    if row.recent or row.recent_at:
        parts["history"] = {"items": row.recent, "ts": row.recent_at}
    return parts


def upgraded_item(value: bytes) -> dict[str, Cells]:
    """The parts of an item's row.

    Raises:
        FrameError: it holds something else than it should.
    """
    row = _read(_items, value)
    parts: dict[str, Cells] = {}
    if row.bias:
        parts["mf"] = {"bias": _f4(row.bias)}
    if row.popularity is not None:
        popular = row.popularity
        parts["popularity"] = {
            "half_lives_ms": _i8(*popular.half_lives_ms), "reference": popular.reference,
            "weights": popular.weights, "clicks": _i8(popular.clicks), "first_at": _i8(popular.first_at),
            "last_at": _i8(popular.last_at),
        }  # fmt: skip
    if row.neighbours is not None:
        near = row.neighbours
        parts["cooccurrence"] = {
            "half_life_ms": _i8(near.half_life_ms), "reference": _i8(near.reference), "neighbours": near.ids,
            "weights": near.weights, "degree": np.array([near.degree], "<f8").tobytes(),
        }  # fmt: skip
    return parts


def upgraded_policy(value: bytes) -> dict[str, Cells]:
    """What the policies of an item's row hold: the edges are those of Diag-LinUCB.

    Raises:
        FrameError: it holds something else than it should.
    """
    row = _read(_policies, value)
    parts: dict[str, Cells] = {
        name: {"shown": _i8(shown), "reward": np.array([reward], "<f8").tobytes()}
        for name, (shown, reward) in row.arms.items()
    }
    if row.shown or row.clusters:
        parts["diag_lin_ucb"] = {
            "shown": _i8(row.shown), "clusters": row.clusters, "b": row.b, "d": row.d
        }  # fmt: skip
    return parts


def upgraded_table(value: bytes) -> dict[str, Cells]:
    """Vector and counts of a row, which until version 3 stood beside the parts.

    Raises:
        FrameError: it holds something else than it should.

    Example:
        >>> upgraded_table(msgspec.msgpack.encode({"vector": b"1234", "clicks": 258}))["counts"]["clicks"]
        b'\\x02\\x01\\x00\\x00\\x00\\x00\\x00\\x00'
    """
    row = _read(_tables, value)
    counts = {"clicks": row.clicks, "impressions": row.impressions, "touched_at": row.touched_at}
    return {
        "vectors": {"vector": row.vector, "version": _i8(row.vector_version)},
        "counts": {name: _i8(number) for name, number in counts.items()},
    }


def upgraded_graph(value: bytes, parts: Mapping[str, Cells]) -> dict[str, Cells]:
    """The graph's columns of an item's row; it is explored where its policies' `parts` say that it was shown.

    Raises:
        FrameError: it holds something else than it should.

    Example:
        >>> upgraded_graph(msgspec.msgpack.encode({"serving": b"1234", "affinities": b"5678"}), {})
        {'graph': {'clusters': b'1234', 'affinities': b'5678'}}
    """
    row = _read(_graphs, value)
    if len(row.serving) % 4 or len(row.serving) != len(row.affinities):
        msg = "columns of a policy row differ in length; the bytes are damaged or of another program"
        raise FrameError(msg)
    cells: Cells = {"clusters": row.serving, "affinities": row.affinities} if row.serving else {}
    if cells and any(part.get("shown") for part in parts.values()):
        cells["explored"] = b"\1"
    return {"graph": cells} if cells else {}


def _read(decoder: msgspec.msgpack.Decoder[T], value: bytes) -> T:
    try:
        return decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        msg = f"a row of version 1 holds something else than it should: {error}"
        raise FrameError(msg) from error


def _i8(*values: int) -> bytes:
    return np.array(values, "<i8").tobytes()


def _f4(value: float) -> bytes:
    return np.array([value], "<f4").tobytes()
