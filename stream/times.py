"""Whether a number is a time in milliseconds, and what it looks like if it is none.

The commonest slip of a client is another unit: seconds, taken as milliseconds, are a day of January 1970, so
every click would be late and every withdrawal older than what it withdraws.
"""

from __future__ import annotations

from typing import Any

from stream.events import FIRST_TS, LAST_TS

__all__ = ["TIME_FIELDS", "broken_instant", "broken_ts", "not_ms"]

TIME_FIELDS = ("ts", "after", "available_from", "available_until")
"""The fields of events and requests that hold a time."""

_UNITS = (("seconds", 1_000, 1), ("microseconds", 1, 1_000), ("nanoseconds", 1, 1_000_000))


def not_ms(value: Any) -> str:
    """Say that milliseconds were expected, what came, and in which unit that would be a time of today.

    Example:
        >>> not_ms(1_795_832_000)
        'milliseconds expected (from 2001 to 2199), got 1795832000; this looks like seconds: times 1000'
        >>> not_ms(1_795_832_000_000_000).partition("; ")[2]
        'this looks like microseconds: divided by 1000'
    """
    said = f"milliseconds expected (from 2001 to 2199), got {str(value)[:40]}"
    unit = _unit_of(value) if isinstance(value, int | float) else None
    if unit is None:
        return said
    name, times, over = unit
    return f"{said}; this looks like {name}: " + (f"times {times}" if times > 1 else f"divided by {over}")


def _unit_of(value: float) -> tuple[str, int, int] | None:
    for name, times, over in _UNITS:
        if FIRST_TS * over <= value * times < LAST_TS * over:
            return name, times, over
    return None


def broken_ts(ts: int) -> str | None:
    """What is wrong with the time of an event, or None.

    Example:
        >>> broken_ts(1_795_832_000_000), broken_ts(7)
        (None, 'milliseconds expected (from 2001 to 2199), got 7')
    """
    return None if FIRST_TS <= ts < LAST_TS else not_ms(ts)


def broken_instant(value: int) -> str | None:
    """What is wrong with a bound such as `available_until`, or None.

    A bound may lie far away on either side, to say never or always, and 0 is the same instant in any unit.

    Example:
        >>> broken_instant(0), broken_instant(253_402_300_799_000), broken_instant(2**53)
        (None, None, None)
        >>> broken_instant(1_795_832_000)
        'milliseconds expected (from 2001 to 2199), got 1795832000; this looks like seconds: times 1000'
    """
    if value == 0 or (abs(value) >= FIRST_TS and _unit_of(value) is None):
        return None
    return not_ms(value)
