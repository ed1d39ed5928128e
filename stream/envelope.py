"""What a client's body holds: events as they were written, told apart before any of them is read.

A text that no parser takes costs the event that it stands in, not the batch: where the whole cannot be read,
events are told apart by brackets, commas and quotes alone.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

from stream.errors import EventError
from stream.ops.json_parts import count_parts, parts
from stream.rules import MAX_NESTING, hint

__all__ = ["Envelope", "TooManyEventsError", "members", "open_body", "unreadable_member"]

_MAX_MEMBERS = 1_000
_KEY = re.compile(rb'\s*("(?:[^"\\]|\\.)*")\s*:', re.DOTALL)
_SURROGATE = re.compile(rb"(?<!\\)(?:\\\\)*\\u[dD][89a-fA-F]")
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class TooManyEventsError(EventError):
    """The body holds more events than are taken at once."""


class _Body(msgspec.Struct):
    events: msgspec.Raw
    backfill: bool | None = None


class Envelope(NamedTuple):
    """Events as they were written; `array` is all of them as one JSON text if it is at hand."""

    raws: list[bytes]
    backfill: bool
    array: bytes | None


_body_decoder = msgspec.json.Decoder(_Body)
_any_decoder = msgspec.json.Decoder()
_raws_decoder = msgspec.json.Decoder(list[msgspec.Raw])


def open_body(text: bytes, *, ndjson: bool, max_events: int | None) -> Envelope:
    """The events of a body; with `ndjson` one a line, blank lines left out.

    Raises:
        TooManyEventsError: there are more than `max_events`.
        EventError: they cannot be told apart, or the body is something else.

    Example:
        >>> open_body(b'{"events": [{"a": "\\\\ud83d"}, 5], "backfill": true}', ndjson=False, max_events=None)
        Envelope(raws=[b'{"a": "\\\\ud83d"}', b'5'], backfill=True, array=None)
    """
    if ndjson:
        if max_events is not None and text.count(b"\n") > max_events:
            raise _too_many(text.count(b"\n"), "lines", max_events)
        return Envelope([line for line in map(bytes.strip, text.split(b"\n")) if line], False, None)
    try:
        body = _body_decoder.decode(text)
        array = bytes(body.events)
        _require_few(array, max_events)
        return Envelope([bytes(raw) for raw in _raws_decoder.decode(array)], bool(body.backfill), array)
    except msgspec.ValidationError as error:
        raise _unreadable(str(error), text) from error
    except _UNREADABLE as error:
        opened = _open_by_brackets(text, max_events)
        if opened is None:
            deep = isinstance(error, RecursionError)
            said = f"more than {MAX_NESTING} levels of arrays and objects" if deep else str(error)
            raise _unreadable(said, text) from error
        return opened


def members(text: bytes) -> dict[str, bytes] | None:
    """The values of a JSON object by name, as they were written; None if they cannot be told apart.

    Example:
        >>> members(b'{"a": [1, 2], "b": "x\\\\ud83d"}')
        {'a': b'[1, 2]', 'b': b'"x\\\\ud83d"'}
    """
    found: dict[str, bytes] = {}
    pairs = parts(text, _MAX_MEMBERS) if text.lstrip()[:1] == b"{" else None
    for pair in pairs or ():
        match = _KEY.match(pair)
        if match is None:
            return None
        try:
            found[msgspec.json.decode(match[1], type=str)] = pair[match.end() :].strip()
        except _UNREADABLE:
            continue  # a name that nobody looks for
    return None if pairs is None else found


def unreadable_member(text: bytes) -> str | None:
    """Which member of a JSON object no parser takes, and why, as a reason; None if none can be named.

    Example:
        >>> unreadable_member(b'{"a": 1, "title": "cut off \\\\ud83d"}')
        'title: expected JSON in UTF-8, got half a character (a surrogate without its other half)'
    """
    for name, value in (members(text) or {}).items():
        try:
            str(value, "utf-8")
            _any_decoder.decode(value)
        except _UNREADABLE as error:
            said = f"text that cannot be read: {error}"
            if _SURROGATE.search(value) and not isinstance(error, RecursionError):
                said = "half a character (a surrogate without its other half)"
            return f"{name[:64]}: expected JSON in UTF-8, got {said}{hint(b':' + value)}"
    return None


def _open_by_brackets(text: bytes, max_events: int | None) -> Envelope | None:
    found = members(text)
    if found is None or not found.get("events", b"").startswith(b"["):
        return None
    array = found["events"]
    _require_few(array, max_events)
    raws = parts(array, len(array))
    try:
        backfill = msgspec.json.decode(found.get("backfill", b"null"), type=bool | None)
    except _UNREADABLE:
        return None
    return None if raws is None else Envelope(raws, bool(backfill), None)


def _require_few(array: bytes, max_events: int | None) -> None:
    # Most commas stand within events: only where there are many of them are those between counted.
    if max_events is not None and array.count(b",") >= max_events:
        n_events = count_parts(array)
        if n_events > max_events:
            raise _too_many(n_events, "events", max_events)


def _too_many(n: int, what: str, most: int) -> TooManyEventsError:
    return TooManyEventsError(
        f"body: at most {most} events are taken at once, {n} {what} came; send smaller batches"
    )


def _unreadable(said: str, text: bytes) -> EventError:
    msg = f'the body cannot be read: expected JSON like {{"events": [...], "backfill": false}}: {said}'
    return EventError(msg + hint(text))
