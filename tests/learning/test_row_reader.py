"""A reader of rows keeps what it does not know, and tells cells that are none of their column."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from learners.part import Column
from learning.rows.codec import ItemRow, PolicyRow, UserRow, decode_item_row, encode_row, encode_rows
from learning.rows.row_reader import RowReader

COLUMNS = {
    "clicks": (Column("half_life_ms", "i8", setting=True), Column("n", "i8")),
    "near": (Column("items", "i4", ("near",), ref="item", most=2), Column("share", "f4", ("near",))),
}
TWO = np.array([1_000, 2], "<i8").tobytes()


def reader() -> RowReader[ItemRow]:
    return RowReader(ItemRow, COLUMNS)


def encoded(parts: Any) -> bytes:
    return encode_row(ItemRow(item_id="tea", entered_at=3, parts=parts))


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"clicks": {"": TWO}, "near": {"items": ["a", "b"], "share": bytes(8)}},
        {"clicks": {"": TWO, "later": b"1"}, "mine": {"": b"12", "of": ["x"]}},
        {"clicks": {"": b"123"}, "near": {"items": b"1234"}},
        {"near": {"items": ["a", "b", "c"]}},
    ],
)
def test_a_row_is_written_as_it_was_read(parts: Any) -> None:
    value = encoded(parts)
    assert decode_item_row(encode_row(reader().read(value))) == decode_item_row(value)


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


@pytest.mark.parametrize(
    ("parts", "is_exact"),
    [
        ({}, True),
        ({"clicks": {"": TWO}, "mine": {"": b"12"}}, True),
        ({"clicks": {"half_life_ms": TWO[:8], "n": TWO[8:]}}, True),
        ({"clicks": {"": TWO[:-1]}}, False),
        ({"clicks": {"": ["tea"]}}, False),
        ({"clicks": {"n": b"1"}}, False),
        ({"near": {"items": ["a", "b", "c"]}}, False),
    ],
)
def test_cells_of_another_type_or_width_are_told_apart(parts: Any, is_exact: bool) -> None:
    read = reader()
    assert read.are_exact([read.read(encoded(parts))]) is is_exact


def test_rows_of_version_2_become_rows_of_now() -> None:
    parts = {"clicks": {"n": TWO[8:]}}
    old = {"schema": 1, "kind": "item", "version": 2, "item_id": "tea", "vector": b"", "parts": parts}
    read = reader()
    row = read.read(msgspec.msgpack.encode(old))
    assert read.cells("clicks", [row]) == {"": [bytes(8) + TWO[8:]]} and row.layout == 3


def test_names_without_end_are_skipped_beyond_some_hundreds() -> None:
    read = reader()
    for n in range(0, 2_000, 100):
        read.read(encoded({f"part-{n + k}": {} for k in range(100)}))
    assert len(read.unknown) == 256
    assert read.are_exact([read.read(encoded({"part-5000": {"": b"1"}, "clicks": {"": TWO}}))])


def test_a_name_that_no_attribute_can_have_is_not_kept() -> None:
    read = reader()
    row = read.read(encoded({'a"b': {"": b"1"}, "clicks": {"": TWO, "\n": b"1"}}))
    assert read.unknown == {'a"b'} and read.cells("clicks", [row]) == {"": [TWO]}
    assert msgspec.msgpack.decode(encode_row(row))["parts"] == {"clicks": {"": TWO}}
