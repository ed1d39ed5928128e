"""Whether what a row holds of a part was written under the settings of whoever follows."""

from __future__ import annotations

from learners.part import Column
from learning.rows.checks import differ
from learning.rows.packed_cells import PACKED, Cells, expected, fixed, packing, width_of

__all__ = ["check_lists", "check_settings"]


def check_settings(part: str, columns: tuple[Column, ...], cells: Cells) -> None:
    """That a packed cell says the settings that are followed, or none.

    A part has other widths where its columns are of another shape, or others, by another setting.

    Raises:
        FrameError: it says others, or has another width.

    Example:
        >>> check_settings("mf", (Column("bias", "f4", (2,)),), {"": bytes(4)})
        Traceback (most recent call last):
        stream.errors.FrameError: mf: bias of 2: expected 8 bytes, the row has 4; give server and workers \
the same settings
    """
    cell, width = cells.get(PACKED), packing(columns).itemsize
    if cell is None:
        return
    shaped = [column for column in fixed(columns) if column.shape]
    if len(cell) != width and (cell or shaped):
        settings = ", ".join(map(_in_words, shaped or fixed(columns)))
        differ(f"{part}: {settings}", f"{width} bytes", len(cell))
    for one in expected(columns):
        if cell[one.place] not in (one.mine, one.unsaid):
            one.refuse(part, cell)


def check_lists(part: str, columns: tuple[Column, ...], cells: Cells) -> None:
    """That no list is longer than its part keeps.

    Raises:
        FrameError: one is.

    Example:
        >>> check_lists("near", (Column("share", "f4", ("near",), most=2),), {"share": bytes(12)})
        Traceback (most recent call last):
        stream.errors.FrameError: near: share: expected at most 2, the row has 3; give server and workers \
the same settings
    """
    for column in columns:
        if column.ragged:
            width = 1 if column.ref is not None else width_of(column)
            came = len(cells.get(column.name, b"")) // width
            if came > column.most:
                differ(f"{part}: {column.name}", f"at most {column.most}", came)


def _in_words(column: Column) -> str:
    if column.expects is not None:
        if column.named:
            said = zip(column.named, column.expects, strict=True)
            return ", ".join(f"{name} = {value}" for name, value in said if value)
        return f"{column.name} {' '.join(map(str, column.expects))}"
    return f"{column.name} of {column.shape[0]}" if column.shape else column.name
