"""Columns of any part survive the way through rows by id, to the bit; what does not fit is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learners.part import Column, Columns, check_columns
from learning.rows.packed_cells import packed, unpacked
from learning.rows.part_columns import encoded_cells, fitted, from_cells, is_flat, to_cells

COLUMNS = (
    Column("version", "i8"),
    Column("weights", "f8", (2,)),
    Column("is_new", "?"),
    Column("last", "i4", ref="item"),
    Column("near", "i4", ("near_n",), ref="item"),
    Column("share", "f4", ("near_n", 3)),
    Column("cluster", "i4", ("edge",)),
)
N_ITEMS = 6


def names_of(_: str, rows: Any) -> Sequence[str | None]:
    return [f"item-{row}" if row >= 0 else None for row in rows.tolist()]


def rows_of(_: str, ids: Sequence[str]) -> Any:
    return np.array([int(name.removeprefix("item-")) for name in ids], np.int32)


@st.composite
def exported(draw: st.DrawFn) -> tuple[int, Columns]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n = draw(st.integers(0, 5))
    near_n, edge = rng.integers(0, 4, n).astype(np.int32), rng.integers(0, 3, n).astype(np.int32)
    return n, {
        "version": rng.integers(0, 3, n),
        "weights": rng.normal(size=(n, 2)) * rng.integers(0, 2, (n, 1)),
        "is_new": rng.integers(0, 2, n).astype(np.bool_),
        "last": rng.integers(-1, N_ITEMS, n).astype(np.int32),
        "near_n": near_n,
        "near": rng.integers(0, N_ITEMS, near_n.sum()).astype(np.int32),
        "share": rng.normal(size=(near_n.sum(), 3)).astype(np.float32),
        "edge": edge,
        "cluster": rng.integers(0, 9, edge.sum()).astype(np.int32),
    }


@given(exported())
def test_what_comes_back_is_what_went_out(came: tuple[int, Columns]) -> None:
    n, columns = came
    check_columns(COLUMNS, n, columns)
    cells = to_cells(COLUMNS, n, columns, names_of)
    fits, back = fitted(COLUMNS, cells, rows_of)
    assert fits.all()
    check_columns(COLUMNS, n, back)
    for name, array in columns.items():
        np.testing.assert_array_equal(back[name], array)


@given(exported(), st.integers(0, N_ITEMS - 1))
def test_entries_that_name_somebody_unknown_are_dropped_on_either_side(
    came: tuple[int, Columns], gone: int
) -> None:
    n, columns = came

    def known(side: str, rows: Any) -> Sequence[str | None]:
        return [None if name == f"item-{gone}" else name for name in names_of(side, rows)]

    def found(side: str, ids: Sequence[str]) -> Any:
        rows = rows_of(side, ids)
        return np.where(rows == gone, -1, rows)

    written = from_cells(COLUMNS, to_cells(COLUMNS, n, columns, known), rows_of)
    read = from_cells(COLUMNS, to_cells(COLUMNS, n, columns, names_of), found)
    is_kept = columns["near"] != gone
    for back in (written, read):
        check_columns(COLUMNS, n, back)
        np.testing.assert_array_equal(back["near"], columns["near"][is_kept])
        np.testing.assert_array_equal(back["share"], columns["share"][is_kept])
        np.testing.assert_array_equal(back["edge"], columns["edge"])


@pytest.mark.parametrize(
    "cells",
    [
        {"": b"123"},
        {"": ["tea"]},
        {"version": b"123"},
        {"version": ["tea"]},
        {"near": b"1234"},
        {"near": ["tea"], "share": b""},
        {"weights": np.array([1.0, np.nan]).tobytes()},
        {"version": np.array([-(2**63)]).tobytes()},
    ],
)
def test_a_row_that_does_not_fit_is_refused_alone(cells: Any) -> None:
    fits, kept = fitted(COLUMNS, [{}, cells, {"is_new": b"\1"}], rows_of)
    assert fits.tolist() == [True, False, True] and kept["is_new"].tolist() == [False, True]


def test_numbers_of_a_row_stand_in_one_cell_in_the_order_of_the_specification() -> None:
    columns = (Column("n", "i4"), Column("near", "i4", ("near_n",)), Column("w", "f8", (2,)))
    came = {"n": np.array([258], np.int32), "w": np.array([[0.0, 2.0]]), "near": np.zeros(0, np.int32)}
    cells = to_cells(columns, 1, {**came, "near_n": np.zeros(1, np.int32)}, names_of)
    assert cells == [{"": b"\2\1\0\0" + np.array([0.0, 2.0]).tobytes()}]


@given(exported())
def test_cells_of_version_2_say_what_packed_ones_say(came: tuple[int, Columns]) -> None:
    n, columns = came
    cells = to_cells(COLUMNS, n, columns, names_of)
    by_name = [unpacked(COLUMNS, one) for one in cells]
    assert [packed(COLUMNS, one) for one in by_name] == cells
    assert not any("" in one for one in by_name) and fitted(COLUMNS, by_name, rows_of)[0].all()


FLAT = (Column("half_life_ms", "i8", setting=True), Column("n", "i8"), Column("weights", "f4", (2,)))


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from([0.0, 0.5])), max_size=5))
def test_numbers_alone_are_encoded_as_their_cells_would_be(rows: list[tuple[int, float]]) -> None:
    n, column = len(rows), np.array(rows).reshape(-1, 2)
    columns = {"half_life_ms": np.full(n, 7), "n": column[:, 0].astype("i8"), "weights": column.astype("f4")}
    cells = to_cells(FLAT, n, columns, names_of)
    assert is_flat(FLAT) and not is_flat(COLUMNS)
    assert encoded_cells(b"\xa2mf", FLAT, n, columns, names_of) == [
        b"\xa2mf" + msgspec.msgpack.encode(one) if one else b"" for one in cells
    ]
