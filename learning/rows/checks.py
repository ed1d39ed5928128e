"""Rows must be of workers with the settings of whoever follows them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, TypeVar

import numpy as np

from stream.columns import are_finite, are_times
from stream.errors import FrameError

__all__ = ["check_id", "check_vector", "differ", "only_finite"]

Row = TypeVar("Row")


def check_id(key: str, name: str) -> None:
    """That the id in a row is that of its record's key.

    Raises:
        FrameError: it is not.
    """
    if name != key:
        msg = f"the row is of {name!r}; another program has written here"
        raise FrameError(msg)


def check_vector(vector: bytes, dim: int) -> None:
    """That a vector is one of `dim` float32.

    Raises:
        FrameError: it is not.
    """
    if len(vector) != 4 * dim:
        differ("embedding_dim", dim, len(vector) / 4)


def differ(what: str, mine: object, theirs: object) -> NoReturn:
    """Refuse a row for a setting that differs.

    Raises:
        FrameError: always.

    Example:
        >>> differ("embedding_dim", 64, 32)
        Traceback (most recent call last):
        stream.errors.FrameError: embedding_dim: expected 64, the row has 32; give all programs the same
    """
    msg = f"{what}: expected {mine}, the row has {theirs}; give all programs the same"
    raise FrameError(msg)


def only_finite(rows: list[Row], dtype: str, column: Callable[[Row], bytes]) -> list[Row]:
    """Those of `rows` whose column of `dtype` holds finite numbers only, or times of at most 62 bits.

    All are looked at together: one by one it would cost a start as much as decoding them.

    Example:
        >>> values = [np.float32(n).tobytes() for n in (1.0, np.nan)]
        >>> len(only_finite(values, "<f4", lambda value: value))
        1
    """
    if _is_finite(b"".join([column(row) for row in rows]), dtype):
        return rows
    return [row for row in rows if _is_finite(column(row), dtype)]


def _is_finite(column: bytes, dtype: str) -> bool:
    values = np.frombuffer(column, dtype)
    return are_finite(values) if values.dtype.kind == "f" else are_times(values)
