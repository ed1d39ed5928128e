"""The events that a record or a row of others is, as JSON would have them, by what its mapping says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import isnan
from typing import Any, NamedTuple

import msgspec

from stream.errors import EventError
from stream.event_mapping import ANYTHING, EventMapping, said
from stream.fields import as_ms, as_plain, convert, shown
from stream.times import broken_instant, broken_ts

__all__ = ["NOTHING", "Given", "event_bodies", "far_time", "holds_at", "mapped_from", "value_at"]

NOTHING: Any = object()
"""What stands at a path that leads nowhere."""

_TIMES = ("ts", "available_from", "available_until")
_LISTS = ("items", "candidates", "propensities", "vector", "item_context")
_OBJECTS = ("context", "attributes", "item_context")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)


class Given(NamedTuple):
    """A record as it came: its values by name, those of the places that are not in it (`$key`), and whether
    all of it is text, as in CSV, so that a number can only be told by how it reads."""

    value: Mapping[str, Any]
    places: Mapping[str, Any]
    is_text: bool = False


def event_bodies(mapping: EventMapping, given: Given) -> list[dict[str, Any]]:
    """The events that a record is by one mapping; none where its `where` does not hold.

    Raises:
        EventError: a value means nothing in the field that it is for.

    Example:
        >>> fields = {"user_id": "who", "item_id": "shown", "ts": "at"}
        >>> clicks = EventMapping("click", fields, where={"clicked": 1}, time="s", separator="|")
        >>> row = {"who": 7, "shown": "a|b|c", "clicked": "0|1|0", "at": 1_700_000_000}
        >>> event_bodies(clicks, Given(row, {}))
        [{'type': 'click', 'user_id': '7', 'item_id': 'b', 'ts': 1700000000000}]
    """
    several = _several(mapping, given)
    if several is None:
        return [_body(mapping, given, None, 0)] if _picked(mapping, given, 1, several=False) else []
    n = len(several)
    return [_body(mapping, given, at, n) for at in _picked(mapping, given, n, several=True)]


def mapped_from(mapping: EventMapping, reason: str) -> str:
    """A reason that begins with a field, and where that field stood.

    Example:
        >>> clicks = EventMapping("click", {"item_id": "sku", "user_id": "who", "ts": "at"})
        >>> mapped_from(clicks, "item_id: required, but missing")
        'item_id: required, but missing (mapped from sku)'
    """
    place = mapping.fields.get(re.split(r"[:.\[]", reason, maxsplit=1)[0])
    if place is None:
        return reason
    return f"{reason} (mapped from {', '.join(place.values()) if isinstance(place, dict) else place})"


def far_time(mapping: EventMapping, given: Given, name: str) -> str:
    """Why a time cannot be, as it stands in the record, and the unit in which it could; empty where that is
    not it.

    Example:
        >>> fields = {"user_id": "who", "item_id": "sku", "ts": "at"}
        >>> clicks = EventMapping("click", fields, time="s")
        >>> far_time(clicks, Given({"at": 1_714_550_000_000}, {}), "ts").partition(", got ")[2]
        '1714550000000 (mapped from at); this looks like ms: write time = "ms"'
    """
    path = mapping.fields.get(name)
    if name not in _TIMES or not isinstance(path, str) or path == "$timestamp":
        return ""
    value = value_at(given, path)
    for one in _as_list(mapping, value) or [value]:
        ms = as_ms(name, one, mapping.time)
        if (broken_ts(ms) if name == "ts" else broken_instant(ms)) is not None:
            unit = "" if mapping.time == "iso" else f" in {mapping.time}"
            said = f"{name}: expected a time{unit} from 2001 to 2199, got {shown(one)} (mapped from {path})"
            return said + _other_unit(name, one, mapping.time)
    return ""


def value_at(given: Given, path: str) -> Any:
    """What stands at a path, or `NOTHING`.

    Example:
        >>> shown = {"shown": [{"id": 3}, {"id": 1}], "a.b": 5, "lines": '[{"sku": 9}]'}
        >>> [value_at(Given(shown, {}), path) for path in ("shown.*.id", "shown.1.id", "a.b", "lines.0.sku")]
        [[3, 1], 1, 5, 9]
    """
    if path.startswith("$") and path in given.places:
        return given.places[path]
    return _walk(given.value, path.split("."))


def holds_at(mapping: EventMapping, given: Given, path: str) -> bool:
    """Whether what stands at one path of `where` is wanted there, in one element where it is a list.

    Example:
        >>> fields = {"user_id": "who", "item_id": "sku", "ts": "at"}
        >>> bought = EventMapping("click", fields, where={"did": "buy", "ok": True})
        >>> [holds_at(bought, Given({"did": "look", "ok": "TRUE"}, {}), path) for path in ("did", "ok")]
        [False, True]
    """
    words, value = _wanted(mapping.where[path]), value_at(given, path)
    each = _as_list(mapping, value)
    return _holds(value, words) or any(_holds(one, words) for one in each or ())


def _walk(value: Any, steps: Sequence[str]) -> Any:
    for n, step in enumerate(steps):
        if isinstance(value, str) and value[:1] in ("[", "{"):
            value = _read(value)  # a cell may hold JSON as text
        if step == "*" and isinstance(value, list):
            found = [_walk(element, steps[n + 1 :]) for element in value]
            return [None if element is NOTHING else element for element in found]
        if isinstance(value, dict):
            # A name may have dots in it: what is left of the path, as one name, goes first.
            whole = ".".join(steps[n:])
            if whole in value:
                return value[whole]
            value = value.get(step, NOTHING)
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return NOTHING
    return value


def _read(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, ValueError):
        return text


def _is_missing(value: Any) -> bool:
    """Whether nothing stands there: a column of numbers says so by NaN."""
    return value is NOTHING or value is None or (isinstance(value, float) and isnan(value))


def _as_list(mapping: EventMapping, value: Any) -> list[Any] | None:
    """The elements of a list, written as one or as text; None for what is no list."""
    if isinstance(value, list | tuple):
        return list(value)
    if not isinstance(value, str):
        return None
    if value[:1] == "[" and isinstance(found := _read(value), list):
        return found
    if mapping.separator is None:
        return None
    return [piece.strip() for piece in value.split(mapping.separator)] if value.strip() else []


def _several(mapping: EventMapping, given: Given) -> list[Any] | None:
    """The items where each is an event of its own; None where there is one event."""
    path = mapping.fields.get("item_id")
    if not isinstance(path, str):
        return None
    value = value_at(given, path)
    if isinstance(value, str):
        # Typed text is an id, whatever it looks like, unless it is said how lists are written.
        is_list = value[:1] == "[" if given.is_text else False
        if not is_list and (mapping.separator is None or mapping.separator not in value):
            return None
    return _as_list(mapping, value)


def _picked(mapping: EventMapping, given: Given, n: int, *, several: bool) -> list[int]:
    """The places of the events that `where` holds for, of `n`."""
    picked = list(range(n))
    for path, wanted in mapping.where.items():
        words = _wanted(wanted)
        value = value_at(given, path)
        each = _as_list(mapping, value) if several else None
        if each is not None and len(each) == n:
            picked = [at for at in picked if _holds(each[at], words)]
        elif not _holds(value, words):
            return []
    return picked


def _wanted(wanted: Any) -> set[Any]:
    return {said(one) for one in (wanted if isinstance(wanted, tuple) else (wanted,))}


def _holds(value: Any, words: set[Any]) -> bool:
    if ANYTHING in words:
        return not _is_missing(value) and value not in ("", [], {})
    return isinstance(value, str | bool | int | float) and said(value) in words


def _body(mapping: EventMapping, given: Given, at: int | None, n: int) -> dict[str, Any]:
    """One event; `at` is its place among the `n` of a record that is several."""
    body: dict[str, Any] = {"type": mapping.type, **mapping.constants}
    for name, place in mapping.fields.items():
        if isinstance(place, dict) and name != "item_context":
            found: Any = _object(mapping, given, name, place, at, n)
        elif isinstance(place, dict):
            continue  # when the items are known
        else:
            found = _value(mapping, given, name, place, at, n)
        if not _is_missing(found):
            body[name] = found
    parts = mapping.fields.get("item_context")
    if isinstance(parts, dict) and (beside := _beside(mapping, given, parts, body.get("items"))):
        body["item_context"] = beside
    if at is not None and isinstance(mark := body.get("event_id"), str):
        # One record, several events: a mark that all of them share would make them copies of one.
        body["event_id"] = f"{mark}.{at + 1}"
    return body


def _value(mapping: EventMapping, given: Given, name: str, path: str, at: int | None, n: int) -> Any:
    found = _element(mapping, value_at(given, path), at, n) if name not in _LISTS else value_at(given, path)
    if _is_missing(found):
        return None
    if name in _LISTS and isinstance(found, str) and mapping.separator is not None:
        found = _as_list(mapping, found)
    unit = "ms" if path == "$timestamp" else mapping.time
    try:
        return as_ms(name, found, unit) if name in _TIMES else convert(name, found)
    except EventError as error:
        hint = _other_unit(name, found, unit) if name in _TIMES else ""
        if name in _LISTS and isinstance(found, str):
            hint = '; if it is a list as text, say what stands between, as in separator = "|"'
        msg = f"{error} (mapped from {path}){hint}"
        raise EventError(msg) from error


def _other_unit(name: str, found: Any, unit: str) -> str:
    for other in ("ms", "s", "us", "ns"):
        try:
            fits = other != unit and broken_ts(as_ms(name, found, other)) is None
        except EventError:
            continue
        if fits:
            return f'; this looks like {other}: write time = "{other}"'
    return ""


def _element(mapping: EventMapping, value: Any, at: int | None, n: int) -> Any:
    """Of a list that goes with the items, the element of this event; else the value."""
    each = None if at is None else _as_list(mapping, value)
    return value if each is None or at is None or len(each) != n else each[at]


def _object(
    mapping: EventMapping, given: Given, name: str, parts: Mapping[str, str], at: int | None, n: int
) -> dict[str, Any] | None:
    found = {}
    for part, path in parts.items():
        value = _element(mapping, value_at(given, path), at, n)
        if not _is_missing(value) and value != "":
            found[part] = _plain(f"{name}.{part}", value, path, is_text=given.is_text)
    return found or None


def _beside(
    mapping: EventMapping, given: Given, parts: Mapping[str, str], items: Any
) -> list[dict[str, Any]] | None:
    """What stands beside each of the items, from lists that are parallel to them."""
    if not isinstance(items, list):
        return None
    beside: list[dict[str, Any]] = [{} for _ in items]
    for part, path in parts.items():
        value = value_at(given, path)
        if _is_missing(value) or value == "":
            continue
        each = _as_list(mapping, value)
        if each is None or len(each) != len(items):
            came = f"{len(each)}" if each is not None else shown(value)
            msg = (
                f"item_context: expected a list of {len(items)} for {part}, as many as items, got {came} "
                f"(mapped from {path}); write null for an item that has none"
            )
            raise EventError(msg)
        is_text = given.is_text or isinstance(value, str)
        for into, one in zip(beside, each, strict=True):
            if not _is_missing(one) and one != "":
                into[part] = _plain(f"item_context.{part}", one, path, is_text=is_text)
    return beside if any(beside) else None


def _plain(name: str, value: Any, path: str, *, is_text: bool) -> Any:
    """A value of a context or of attributes; of text that reads as a number or a truth it is that."""
    if is_text and isinstance(value, str):
        if _NUMBER.fullmatch(value):
            value = float(value) if re.search("[.eE]", value) else int(value)
        elif value.lower() in ("true", "false"):
            value = value.lower() == "true"
        elif value[:1] in ("[", "{"):
            value = _read(value)
    try:
        return as_plain(name, value)
    except EventError as error:
        msg = f"{error} (mapped from {path})"
        raise EventError(msg) from error
