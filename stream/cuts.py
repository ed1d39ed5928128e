"""Cutting events and fields out of JSON without moving a byte of what stays.

What goes is overwritten with spaces, and so are the commas that it leaves behind. The text keeps its length
and every other byte its place, so a file can be changed where it is, and the places of further cuts, found
before, are still right.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import msgspec

__all__ = ["Span", "cut", "event_spans", "member_spans"]

Span = tuple[int, int]
"""Where something begins and where it ends, in bytes."""

_raws_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_scanner = json.JSONDecoder()
_SPACE = re.compile(r"\s*")
_INK = re.compile(rb"[^ \t\r\n]")
_BLOCK, _COMMA, _CLOSING = 4_096, ord(","), b"]}"


def event_spans(body: bytes) -> list[Span]:
    """Where the events of a record stand, an array or one object.

    Raises:
        msgspec.DecodeError: it is no JSON.

    Example:
        >>> event_spans(b'[{"a": 1}, {"b": 2}]'), event_spans(b'{"a": 1}')
        ([(1, 9), (11, 19)], [(0, 8)])
    """
    if body.lstrip()[:1] != b"[":
        return [(0, len(body))]
    spans, at = [], body.index(b"[") + 1
    for raw in _raws_decoder.decode(body):
        text = bytes(raw)
        # Only commas and spaces stand before it, so the first place is its own.
        at = body.index(text, at)
        spans.append((at, at + len(text)))
        at += len(text)
    return spans


def member_spans(raw: bytes) -> list[tuple[str, int, int]]:
    """The members of a JSON object: name, and where name and value stand together.

    Raises:
        ValueError: it is no JSON object.

    Example:
        >>> member_spans(b'{"type": "click", "friend" : ["ann"]}')
        [('type', 1, 16), ('friend', 18, 36)]
    """
    text = raw.decode("latin-1")  # one character a byte: places are the same
    members, at = [], _ink(text, text.index("{") + 1)
    while text[at : at + 1] == '"':
        start = at
        name, at = _scanner.raw_decode(text, at)
        at = _ink(text, _ink(text, at) + 1)  # behind the colon
        _, at = _scanner.raw_decode(text, at)
        members.append((name.encode("latin-1", "ignore").decode("utf-8", "replace"), start, at))
        at = _ink(text, at)
        at = _ink(text, at + 1) if text[at : at + 1] == "," else at
    return members


def _ink(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def cut(body: bytes, spans: Sequence[Span]) -> tuple[bytes, list[Span]]:
    """The text without the events or members at `spans`, as long as before, and what was overwritten.

    Cutting twice changes nothing more, not even where the text has been emptied meanwhile.

    Example:
        >>> cut(b'[{"a":1},{"b":2},{"c":3}]', [(17, 24)])
        (b'[{"a":1},{"b":2}        ]', [(17, 24), (16, 17)])
        >>> cut(b'{"a":1}', [(0, 7)])
        (b'[]     ', [(0, 7)])
    """
    text, changed = bytearray(body), []
    for start, end in _joined(text, sorted(span for span in spans if span[1] <= len(body))):
        text[start:end] = b" " * (end - start)
        changed.append((start, end))
        before, after = _before(text, start), _after(text, end)
        last = after == len(text) or text[after] in _CLOSING
        if not last and text[after] == _COMMA and (before < 0 or text[before] in b"[{,"):
            changed.append((after, after + 1))
        elif last and before >= 0 and text[before] == _COMMA:
            changed.append((before, before + 1))
        place = changed[-1][0]
        text[place : changed[-1][1]] = b" " * (changed[-1][1] - place)
    if not text.strip():
        text[:2] = b"[]"
    return bytes(text), changed


def _joined(text: bytearray, spans: Sequence[Span]) -> list[Span]:
    """Spans with nothing but a comma between them are one."""
    joined: list[Span] = []
    for start, end in spans:
        if joined and not text[joined[-1][1] : start].strip(b", \t\r\n"):
            start = joined.pop()[0]
        joined.append((start, end))
    return joined


def _before(text: bytearray, at: int) -> int:
    """Place of the last byte before `at` that is no space, -1 if there is none."""
    while at > 0:
        start = max(0, at - _BLOCK)
        if (n := len(text[start:at].rstrip())) > 0:
            return start + n - 1
        at = start
    return -1


def _after(text: bytearray, at: int) -> int:
    """Place of the first byte from `at` on that is no space; the end if there is none."""
    found = _INK.search(text, at)
    return found.start() if found else len(text)
