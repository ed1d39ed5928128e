"""Values of others, converted by the field that they are for: one meaning for files and for topics of others.

A value is taken where it means one thing: a whole number for an id, a whole float or a moment for a time,
`true`, `1` or their text for a boolean, JSON text for a list. Anything else is refused by name. What JSON
cannot say, a number that is not finite first of all, never becomes something else on the way.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from math import isfinite
from typing import Any
from uuid import UUID

import msgspec

from stream.errors import EventError
from stream.rules import MAX_NESTING

__all__ = ["FIELDS", "as_ms", "as_plain", "convert", "shown"]

_TEXTS = (
    *("type", "user_id", "item_id", "request_id", "event_id", "session_id", "kind", "group"),
    *("policy", "placement", "experiment", "source"),
)
_TIMES = ("ts", "available_from", "available_until")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EXACT = 2.0**53  # up to here a float says which whole number it is
_PER_MS = {"us": 1_000, "ns": 1_000_000}
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_WHOLE = re.compile(r"[+-]?\d{1,30}", re.ASCII)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def convert(field: str, value: Any) -> Any:
    """The value as JSON has it for `field` of an event; None stays None, whatever the field.

    Raises:
        EventError: it means nothing there, or more than one thing.

    Example:
        >>> convert("user_id", 7.0), convert("ts", "1795832000000.0"), convert("deleted", "True")
        ('7', 1795832000000, True)
        >>> convert("items", "[3, 1]"), convert("value", Decimal("2.50"))
        (['3', '1'], 2.5)
        >>> convert("value", float("-inf"))
        Traceback (most recent call last):
        ...
        stream.errors.EventError: value: expected a finite number, got -inf
    """
    if value is None:
        return None
    return FIELDS.get(field, as_plain)(field, value)


def shown(value: Any) -> str:
    """A value as a message shows it: as JSON where it can be, cut short.

    Example:
        >>> shown("noon"), shown(float("nan")), shown(b"\\xff")
        ('"noon"', 'nan', "b'\\\\xff'")
    """
    if isinstance(value, bytes | Decimal | date | UUID) or (isinstance(value, float) and not isfinite(value)):
        text = repr(value) if isinstance(value, bytes) else str(value)
    else:
        try:
            text = msgspec.json.encode(value).decode()
        except (ValueError, TypeError, OverflowError, RecursionError):
            text = ascii(value)
    return text if len(text) <= 60 else f"{text[:40]}... ({len(text)} characters)"


def _misfit(field: str, expected: str, value: Any) -> EventError:
    return EventError(f"{field}: expected {expected}, got {shown(value)}")


def _text(field: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise _misfit(field, "text in UTF-8", value) from error
    if isinstance(value, UUID):
        return str(value)
    whole = _whole(value)
    if whole is None:
        raise _misfit(field, "text or a whole number", value)
    return str(whole)


def _whole(value: Any) -> int | None:
    """The whole number that a number is, or None."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT:
        return int(value)
    if isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value():
        return int(value)
    return None


def _number(field: str, value: Any) -> int | float:
    if isinstance(value, bytes):
        value = _text(field, value)
    if isinstance(value, str):
        if _NUMBER.fullmatch(value.strip()) is None:
            raise _misfit(field, "a finite number", value)
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise _misfit(field, "a finite number", value)
    number = float(value) if isinstance(value, Decimal) else value
    if not isfinite(number):
        raise _misfit(field, "a finite number", value)
    return number


def _boolean(field: str, value: Any) -> bool:
    said = _text(field, value) if isinstance(value, bytes) else value
    if isinstance(said, str):
        found = _BOOLEANS.get(said.strip().lower())
    else:
        found = bool(said) if isinstance(said, bool | int | float | Decimal) and said in (0, 1) else None
    if found is None:
        raise _misfit(field, "true, false, 1 or 0", value)
    return found


def _json(field: str, value: Any) -> Any:
    """What JSON text says; other values as they are."""
    if isinstance(value, bytes):
        value = _text(field, value)
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise _misfit(field, "JSON", value) from error


def _texts(field: str, value: Any) -> list[str | None]:
    found = _json(field, value)
    if not isinstance(found, list):
        raise _misfit(field, "a list", value)
    return [None if one is None else _text(f"{field}[{n}]", one) for n, one in enumerate(found)]


def _numbers(field: str, value: Any) -> list[int | float | None]:
    found = _json(field, value)
    if not isinstance(found, list):
        raise _misfit(field, "a list of numbers", value)
    return [None if one is None else _number(f"{field}[{n}]", one) for n, one in enumerate(found)]


def _object(field: str, value: Any) -> Any:
    return as_plain(field, _json(field, value))


def _time(field: str, value: Any) -> int:
    return as_ms(field, value)


def as_ms(field: str, value: Any, unit: str = "ms") -> int:
    """A time in ms since 1970: a number in `unit` (ms, s, us, ns), a moment, or text of either.

    Text without a zone is UTC. Whether the number is plausible is for `stream.rules` to say.

    Raises:
        EventError: it is no time.

    Example:
        >>> as_ms("ts", "2024-05-01T12:00:00Z"), as_ms("ts", 1_714_564_800.25, "s"), as_ms("ts", Decimal(7))
        (1714564800000, 1714564800250, 7)
    """
    if isinstance(value, bytes):
        value = _text(field, value)
    if isinstance(value, str):
        return _ms_of_text(field, value.strip(), unit)
    if isinstance(value, datetime | date):
        return _ms_of_moment(value)
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal) or not isfinite(value):
        raise _misfit(field, f"a time in {unit}", value)
    if unit == "s":
        return round(value * 1_000)
    if unit in _PER_MS:
        return int(value) // _PER_MS[unit]
    whole = _whole(value)
    if whole is None or unit == "iso":
        raise _misfit(field, "a whole number of ms" if unit == "ms" else f"a time in {unit}", value)
    return whole


def _ms_of_text(field: str, text: str, unit: str) -> int:
    if unit != "iso" and _WHOLE.fullmatch(text):
        return as_ms(field, int(text), unit)
    if unit != "iso" and _NUMBER.fullmatch(text):
        return as_ms(field, float(text), unit)
    try:
        if _DATE.match(text):
            return _ms_of_moment(datetime.fromisoformat(text))
    except (ValueError, OverflowError) as error:
        raise _misfit(field, f"a time in {unit}", text) from error
    raise _misfit(field, f"a time in {unit}", text)


def _ms_of_moment(moment: date) -> int:
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def as_plain(field: str, value: Any, levels: int = MAX_NESTING) -> Any:
    """A value as JSON can say it: moments as ISO text, decimals as numbers, bytes as text or else base64.

    Raises:
        EventError: a number in it is not finite, or it is nested deeper than events may be.

    Example:
        >>> as_plain("seen", {"at": date(2024, 5, 1), "price": Decimal("2.5"), "raw": b"\\xff"})
        {'at': '2024-05-01', 'price': 2.5, 'raw': '/w=='}
    """
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, float | Decimal):
        if not isfinite(value):
            raise _misfit(field, "a finite number", value)
        whole = _whole(value) if isinstance(value, Decimal) else None
        return float(value) if whole is None else whole
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else str(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return b64encode(value).decode()
    if isinstance(value, datetime | date):
        return value.isoformat()
    if not isinstance(value, Mapping | list | tuple):
        return str(value)
    return _plain_inside(field, value, levels)


def _plain_inside(field: str, value: Any, levels: int) -> Any:
    if levels <= 0:
        msg = f"{field}: expected at most {MAX_NESTING} levels of arrays and objects"
        raise EventError(msg)
    if isinstance(value, Mapping):
        return {
            _text(f"{field}: name", name): as_plain(f"{field}.{name}", inner, levels - 1)
            for name, inner in value.items()
        }
    return [as_plain(f"{field}[{n}]", inner, levels - 1) for n, inner in enumerate(value)]


FIELDS: dict[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys(_TEXTS, _text),
    **dict.fromkeys(_TIMES, _time),
    "value": _number,
    "deleted": _boolean,
    "items": _texts,
    "candidates": _texts,
    "propensities": _numbers,
    "vector": _numbers,
    "context": _object,
    "attributes": _object,
    "item_context": _object,
}
"""The conversion of each field of an event; other fields are taken as they are, by `as_plain`."""
