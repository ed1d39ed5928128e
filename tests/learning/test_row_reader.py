"""A reader of rows finds what they hold, and tells those that are none, whatever bytes come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest

from learners.part import Column
from learning.rows.codec import ItemRow, PolicyRow, UserRow, decode_item_row, encode_row, encode_rows
from learning.rows.follow_parts import FollowedParts
from learning.rows.row_reader import RowReader
from stream.errors import FrameError

COLUMNS = {
    "clicks": (Column("half_life_ms", "i8", setting=True, expects=(1_000,)), Column("n", "i8")),
    "near": (Column("items", "i4", ("near",), ref="item", most=2), Column("share", "f4", ("near",))),
}
TWO = np.array([1_000, 2], "<i8").tobytes()


def reader() -> RowReader[ItemRow]:
    return RowReader(ItemRow, COLUMNS)


def encoded(parts: Any, **fields: Any) -> bytes:
    return encode_row(ItemRow(item_id="tea", entered_at=3, parts=parts, **fields))


def read(rows: RowReader[ItemRow], *values: bytes) -> list[int | FrameError]:
    return rows.read(["tea"] * len(values), [b"tea"] * len(values), values)


def held(rows: RowReader[ItemRow], number: int) -> Any:
    """What a row holds, as the reader has it."""
    lists = rows.lists([number])["near"]
    ids, share = lists["items"], lists["share"]
    clicks = rows.numbers([number])["clicks"].tobytes()
    return int(rows.entered_at([number])[0]), clicks, list(ids.entries), bytes(share.entries)


def decoded(value: bytes) -> Any:
    """The same of the slow decoder; None where a cell is none of its column."""
    row = decode_item_row(value)
    if row.item_id != "tea":
        raise FrameError
    clicks, near = (row.parts.get(name, {}) for name in COLUMNS)
    cell, ids, share = clicks.get("") or bytes(16), near.get("items", []), near.get("share", b"")
    if len(cell) != 16 or (isinstance(cell, bytes) and cell[:8] not in (TWO[:8], bytes(8))):
        raise FrameError
    fits = isinstance(cell, bytes) and len(cell) == 16 and isinstance(ids, list) and isinstance(share, bytes)
    near_fits = fits and len(ids) <= 2 and len(share) <= 4 * COLUMNS["near"][1].most
    return (row.entered_at, cell, ids, share) if near_fits else None


WHOLE = {"clicks": {"": TWO}, "near": {"items": ["a", "ünïcode-\U0001f375"], "share": bytes(range(8))}}


@pytest.mark.parametrize(
    "parts",
    [
        {},
        WHOLE,
        {
            "near": WHOLE["near"],
            "mine": {"": b"12", "of": ["x"], "n": b""},
            "clicks": {"": TWO, "later": b"1"},
        },
        {"clicks": {"": b""}, "near": {"items": [], "share": b""}},
        {"clicks": {"": [*"0123456789abcdef"]}},
        {"near": {"items": [], "share": []}},
        {"near": {"items": b"1234"}},
        {"near": {"items": ["a", "b", "c"]}},
        {"near": {"items": ["é" * 40, "x" * 300], "share": bytes(8)}},
    ],
)
def test_a_row_is_read_as_the_slow_decoder_reads_it(parts: Any) -> None:
    rows, value = reader(), encoded(parts)
    for _ in range(2):  # the second time all names are known
        (number,) = read(rows, value)
        expected = decoded(value)
        assert isinstance(number, int)
        assert rows.fitting([number]) == ([number] if expected else [])
        assert expected is None or held(rows, number) == expected


@pytest.mark.parametrize("kind", [UserRow, ItemRow, PolicyRow])
def test_many_rows_are_encoded_as_each_alone(kind: Any) -> None:
    ids, parts = ["tea", "\0", "ä" * 40, "x" * 300], {"clicks": {"": TWO}}
    name = "user_id" if kind is UserRow else "item_id"
    times: dict[str, list[int]] = {"entered_at": [0, 5, 2**40, -1]} if kind is ItemRow else {}
    alone = [
        encode_row(kind(**{name: one, "parts": parts}, **{field: value[n] for field, value in times.items()}))
        for n, one in enumerate(ids)
    ]
    assert encode_rows(kind, ids, [msgspec.msgpack.encode(parts)] * len(ids), **times) == alone


def test_damaged_rows_are_read_as_the_slow_decoder_reads_them() -> None:
    """Those that are passed over are not looked into, so none are among them."""
    rng, rows = np.random.default_rng(4), reader()
    wholes = [encoded(WHOLE), encoded({"clicks": {"": TWO}})]
    values = [_damaged(wholes[n % 2], rng) for n in range(6_000)]
    n_good = 0
    for value, number in zip(values, read(rows, *values), strict=True):
        try:
            expected = decoded(value)
        except FrameError:
            assert isinstance(number, FrameError), value
            continue
        assert isinstance(number, int), (value, number)
        assert rows.fitting([number]) == ([number] if expected else []), value
        assert expected is None or held(rows, number) == expected, value
        n_good += expected is not None
    assert 500 < n_good < 5_000


def _damaged(value: bytes, rng: np.random.Generator) -> bytes:
    out, at = bytearray(value), int(rng.integers(len(value)))
    kind = rng.integers(4)
    if kind == 0:
        del out[at:]
    elif kind == 1:
        out[at:at] = rng.bytes(int(rng.integers(1, 4)))
    else:
        out[at] = int(rng.choice([0x80, 0xC0, 0xC1, 0xC4, 0xD9, 0xDD, 0xDF, 0xED, int(rng.integers(256))]))
    return bytes(out)


def test_rows_of_version_2_become_rows_of_now() -> None:
    parts = {"clicks": {"n": TWO[8:]}}
    old = {"schema": 1, "kind": "item", "version": 2, "item_id": "tea", "vector": b"", "parts": parts}
    rows = reader()
    assert read(rows, msgspec.msgpack.encode(old), encoded({"clicks": {"": TWO}})) == [0, 1]
    assert rows.numbers([1, 0])["clicks"]["n"].tolist() == [2, 2]


def test_a_row_of_another_id_of_other_settings_or_of_another_kind_is_none() -> None:
    rows = reader()
    other = np.array([500, 2], "<i8").tobytes()
    values = [encoded({"clicks": {"": cell}}) for cell in (other, TWO[:8])]
    values += [encoded({}), encode_row(UserRow(user_id="tea")), encoded({})]
    names = ["tea", "tea", "chai", "tea", "tea"]
    named = rows.read(names, [name.encode() for name in names], values)
    assert [isinstance(one, FrameError) for one in named] == [True, True, True, True, False]
    assert "half_life_ms: expected 1000, the row has 500" in str(named[0])
    assert "clicks: half_life_ms 1000, n: expected 16 bytes, the row has 8" in str(named[1])


def test_names_without_end_are_skipped_beyond_some_hundreds() -> None:
    rows = reader()
    for n in range(0, 2_000, 100):
        read(rows, encoded({f"part-{n + k}": {} for k in range(100)}))
    assert len(rows.unknown) == 256
    (number,) = read(rows, encoded({"part-5000": {"": b"1"}, "clicks": {"": TWO, "x": ["y"]}}))
    assert isinstance(number, int) and rows.numbers([number])["clicks"]["n"].tolist() == [2]


def test_replaced_rows_are_let_go_where_nobody_asks_for_a_round() -> None:
    rows = reader()
    parts = FollowedParts(rows, "item", _no_rows)
    values = [encoded({"clicks": {"": np.array([1_000, n], "<i8").tobytes()}}) for n in range(10_100)]
    assert not parts.put(["tea"] * len(values), [b"tea"] * len(values), values)
    (found,), gone = parts.taken()
    assert len(rows.values) == 1 and not gone and rows.numbers([found])["clicks"]["n"].tolist() == [10_099]


def _no_rows(_: str, names: Sequence[str]) -> Any:
    return np.full(len(names), -1, np.int32)
