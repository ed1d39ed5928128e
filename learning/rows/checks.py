"""Rows must be of workers with the settings of whoever follows them."""

from __future__ import annotations

from typing import NoReturn, TypeVar

from stream.errors import FrameError

__all__ = ["SAME_SETTINGS", "check_id", "differ"]

SAME_SETTINGS = "give server and workers the same settings"
"""What to do about rows that were written under other settings."""

Row = TypeVar("Row")


def check_id(key: str, name: str) -> None:
    """That the id in a row is that of its record's key.

    Raises:
        FrameError: it is not.
    """
    if name != key:
        msg = f"the row is of {name!r}; another program has written here"
        raise FrameError(msg)


def differ(what: str, mine: object, theirs: object) -> NoReturn:
    """Refuse a row for a setting that differs.

    Raises:
        FrameError: always.

    Example:
        >>> differ("embedding_dim", 64, 32)
        Traceback (most recent call last):
        stream.errors.FrameError: embedding_dim: expected 64, the row has 32; give server \
and workers the same settings
    """
    msg = f"{what}: expected {mine}, the row has {theirs}; {SAME_SETTINGS}"
    raise FrameError(msg)
