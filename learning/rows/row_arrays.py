"""The numbers of many rows at once, without the rows that something in them spoils."""

from __future__ import annotations

from typing import Any

from learning.rows.part_columns import Arrays, arrays_of
from learning.rows.row_reader import RowReader

__all__ = ["arrays_of_rows", "fitting_rows"]


def fitting_rows(reader: RowReader[Any], numbers: list[int]) -> tuple[list[int], dict[str, Arrays]]:
    """Those rows of which every part can be read, and by part what they hold.

    One number that is none spoils a row: what reads it must not serve the rest as if it were whole.

    Example:
        >>> from learners.part import Column
        >>> from learning.rows.codec import UserRow, encode_row
        >>> reader = RowReader(UserRow, {"mf": (Column("bias", "f4"),)})
        >>> rows = [UserRow(user_id=name, parts={"mf": {"": bias}})
        ...         for name, bias in (("ann", b"\\0\\0\\xc0\\x7f"), ("bob", b"\\0\\0\\x80?"))]
        >>> _ = reader.read(["ann", "bob"], [b"ann", b"bob"], [encode_row(row) for row in rows])
        >>> fitting_rows(reader, [0, 1])
        ([1], {'mf': {'bias': array([1.], dtype=float32)}})
    """
    numbers = reader.fitting(numbers)
    arrays = arrays_of_rows(reader, numbers)
    if arrays is None:  # nearly never: all are looked at together, and then one by one
        numbers = [row for row in numbers if arrays_of_rows(reader, [row]) is not None]
        arrays = arrays_of_rows(reader, numbers)
    assert arrays is not None, "each of these could be read alone"
    return numbers, arrays


def arrays_of_rows(reader: RowReader[Any], numbers: list[int]) -> dict[str, Arrays] | None:
    """By part what these rows hold; None where something is no finite number."""
    out, packed, lists = {}, reader.numbers(numbers), reader.lists(numbers)
    for name, columns in reader.columns.items():
        arrays = arrays_of(columns, packed[name], lists[name])
        if arrays is None:
            return None
        out[name] = arrays
    return out
