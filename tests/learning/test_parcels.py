"""Every row of a parcel comes to the owners of its items, once, in order, with what it refers to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learners import Column, EmbeddingTable, LearnerError, PartSpec, Table
from learning.parcels import opened, packed
from stream.parcels import Parcel, halves, routed

SPEC = PartSpec(
    parcel={
        "vectors": Table((Column("vector", "f4", (2,)),)),
        "samples": Table((Column("user", "i4", ref="vectors"), Column("item", "i4", ref="item")), ("item",)),
        "pairs": Table(
            (Column("one", "i4", ref="item"), Column("other", "i4", ref="item")), ("one", "other")
        ),
    }
)
PAIRS = PartSpec(parcel={"pairs": SPEC.parcel["pairs"]})
NAMES = [f"item-{n}" for n in range(8)]
HOME = dict(zip(NAMES, [0, 1, 2, 0, 1, 2, 0, 0], strict=True))


def homes(names: Sequence[str]) -> Any:
    return np.array([HOME[name] for name in names], np.int32)


@st.composite
def parcels(draw: st.DrawFn) -> tuple[EmbeddingTable, Any]:
    items = EmbeddingTable(2)
    items.rows(NAMES, ts=5)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n, m = draw(st.integers(0, 9)), draw(st.integers(0, 9))
    vectors = rng.normal(size=(3, 2)).astype(np.float32)
    samples = {"user": rng.integers(0, 3, n).astype("i4"), "item": rng.integers(0, 8, n).astype("i4")}
    pairs = {"one": rng.integers(0, 8, m).astype("i4"), "other": rng.integers(0, 8, m).astype("i4")}
    return items, {"vectors": {"vector": vectors}, "samples": samples, "pairs": pairs}


def said(parcel: Parcel) -> tuple[list[Any], list[Any]]:
    """Samples and pairs with vectors and names in place of numbers."""
    vectors, samples, pairs = (parcel.tables[name] for name in ("vectors", "samples", "pairs"))
    names = np.array([*parcel.names, ""])
    return (
        list(zip(vectors["vector"][samples["user"]].tolist(), names[samples["item"]].tolist(), strict=True)),
        list(zip(names[pairs["one"]].tolist(), names[pairs["other"]].tolist(), strict=True)),
    )


@given(parcels())
def test_each_partition_gets_its_rows_in_order(came: tuple[EmbeddingTable, Any]) -> None:
    items, tables = came
    parcel = packed("part", SPEC, tables, items)
    found = routed(parcel, homes(parcel.names), 3)
    samples, pairs = said(parcel)
    for partition in range(3):
        mine = said(found[partition]) if partition in found else ([], [])
        assert mine[0] == [one for one in samples if HOME[one[1]] == partition]
        assert mine[1] == [one for one in pairs if partition in {HOME[one[0]], HOME[one[1]]}]


@given(parcels())
def test_two_halves_say_what_the_whole_says(came: tuple[EmbeddingTable, Any]) -> None:
    items, tables = came
    parcel = packed("part", SPEC, tables, items)
    first, second = map(said, halves(parcel))
    assert (first[0] + second[0], first[1] + second[1]) == said(parcel)


@given(parcels())
def test_an_opened_parcel_refers_to_rows_again(came: tuple[EmbeddingTable, Any]) -> None:
    items, tables = came
    parcel = packed("part", SPEC, tables, items)
    back = opened(SPEC, parcel, items, np.zeros(len(parcel.names), np.bool_))
    np.testing.assert_array_equal(back["samples"]["item"], tables["samples"]["item"])
    np.testing.assert_array_equal(back["pairs"]["other"], tables["pairs"]["other"])


def test_items_of_other_partitions_are_given_rows_and_unknown_ones_of_here_none() -> None:
    pairs = {"one": np.array([0], np.int32), "other": np.array([1], np.int32)}
    parcel = Parcel("part", ["here", "there"], {"pairs": pairs}, ts=7)
    items = EmbeddingTable(2)
    back = opened(PAIRS, parcel, items, np.array([False, True]))
    assert (back["pairs"]["one"].tolist(), back["pairs"]["other"].tolist()) == ([-1], [0])
    assert items.touched_at[0] == 7


def test_a_number_beyond_the_names_is_refused() -> None:
    pairs = {"one": np.array([0], np.int32), "other": np.array([1], np.int32)}
    with pytest.raises(LearnerError, match=r"pairs\.other names an item beyond its 1 ids"):
        opened(PAIRS, Parcel("part", ["here"], {"pairs": pairs}), EmbeddingTable(2), np.array([False]))


def test_a_parcel_with_other_tables_than_the_part_has_is_refused() -> None:
    with pytest.raises(LearnerError, match="expected tables pairs; 'more' differs"):
        opened(PAIRS, Parcel("part", [], {"more": {}}), EmbeddingTable(2), np.zeros(0, np.bool_))
