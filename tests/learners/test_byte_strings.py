"""Byte strings by row, against a dictionary."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from learners.byte_strings import ByteStrings

OPERATIONS = st.lists(st.tuples(st.integers(0, 40), st.none() | st.binary(max_size=30_000)), max_size=60)


@settings(max_examples=60, deadline=None)
@given(OPERATIONS)
def test_it_is_a_dictionary_of_rows(operations: list[tuple[int, bytes | None]]) -> None:
    strings, model = ByteStrings(), dict[int, bytes]()
    for row, string in operations:
        strings.put(row, string)
        model.pop(row, None)
        if string is not None:
            model[row] = string
        assert strings.get(row) == string
    assert dict(strings.items()) == model
    assert list(dict(strings.items())) == sorted(model)


def test_what_was_replaced_does_not_pile_up() -> None:
    strings = ByteStrings()
    for n in range(2_000):
        strings.put(n % 3, bytes([n % 256]) * 1_000)
    assert len(strings._buffer) <= 2 * 3_000 + (1 << 16)
    assert [strings.get(row) for row in range(4)] == [
        bytes([n % 256]) * 1_000 for n in (1_998, 1_999, 1_997)
    ] + [None]


def test_filling_replaces_everything() -> None:
    strings = ByteStrings()
    strings.put(9, b"old")
    strings.fill(np.array([1, 4], np.int32), [b"", b"four"])
    assert dict(strings.items()) == {1: b"", 4: b"four"}
    strings.put(4, b"vier")
    assert (strings.get(4), strings.get(9), strings.get(0)) == (b"vier", None, None)
