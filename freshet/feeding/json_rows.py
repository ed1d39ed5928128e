"""Events of JSON files: a line each, or the elements of arrays, whichever way they are laid out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from freshet.feeding.opening import MAX_ROW_BYTES, Row, Unpacked, opened
from stream.errors import EventError
from stream.rules import MAX_NESTING, hint, nesting, too_deep

__all__ = ["json_rows"]

_CHUNK = 1 << 18
_ENVELOPE = re.compile(rb'\s*\{\s*("backfill"\s*:\s*\w+\s*,\s*)?"events"\s*:\s*\[')
_MARKS = re.compile(rb'["\\{}\[\],]')
_decoder = msgspec.json.Decoder()
_raws = msgspec.json.Decoder(list[msgspec.Raw])


def json_rows(path: Path) -> Iterator[Row]:
    """Every event; blank lines are none. A file may be one array, or `{"events": [...]}`, instead of lines.

    Raises:
        EventError: it ends within an array or an object.
    """
    with opened(path) as file:
        head = file.peek(_CHUNK)
        first, end, _ = head.partition(b"\n")
        if _ENVELOPE.match(head):
            found = _elements(path, file, 2)
        elif head.lstrip()[:1] == b"[" and not (end and _is_array(first)):
            found = _elements(path, file, 1)
        elif first.strip() == b"{":
            found = _elements(path, file, 0)
        else:
            found = _lines(file)
        for number, text in enumerate(found):
            reason = text if isinstance(text, str) else _unreadable(text)
            yield Row(number, b"" if reason is not None or isinstance(text, str) else text, reason=reason)


def _unreadable(text: bytes) -> str | None:
    """Why a text is no JSON that can be sent on, or None."""
    try:
        _decoder.decode(text)
        if not text.isascii():
            str(text, "utf-8")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return f"event: expected JSON in UTF-8, got bytes that cannot be read: {error}{hint(text)}"
    except RecursionError:
        return too_deep(nesting(text))
    # That many brackets are rare, and counting levels is slow.
    if text.count(b"[") + text.count(b"{") > MAX_NESTING and (levels := nesting(text)) > MAX_NESTING:
        return too_deep(levels)
    return None


def _is_array(line: bytes) -> bool:
    try:
        _raws.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _lines(file: Unpacked) -> Iterator[bytes | str]:
    while line := file.readline(MAX_ROW_BYTES):
        if len(line) == MAX_ROW_BYTES and not line.endswith(b"\n"):
            while len(line) == MAX_ROW_BYTES and not line.endswith(b"\n"):
                line = file.readline(MAX_ROW_BYTES)
            yield _too_long()
            continue
        text = line.strip()
        if text[:1] == b"[" and _is_array(text):
            yield from map(bytes, _raws.decode(text))
        elif text:
            yield text


def _too_long() -> str:
    return f"row: expected at most {MAX_ROW_BYTES} bytes, got a longer one"


def _elements(path: Path, file: Unpacked, base: int) -> Iterator[bytes | str]:
    splitter = _Splitter(base)
    while chunk := file.read1(_CHUNK):
        yield from splitter.feed(chunk)
    if splitter.is_within:
        msg = f"{path} cannot be read: it ends within an array or an object"
        raise EventError(msg)


class _Splitter:
    """Cuts a JSON text into the elements of containers at depth `base`; at 0 into objects one after another.

    Holds one element, at most `MAX_ROW_BYTES` and a chunk of it.
    """

    def __init__(self, base: int) -> None:
        self._base = base
        self._depth = 0
        self._in_text = self._is_escaped = self._is_long = False
        self._element = bytearray()

    @property
    def is_within(self) -> bool:
        """Whether more must come."""
        return self._depth > 0 or self._in_text or bool(self._element.strip())

    def feed(self, chunk: bytes) -> Iterator[bytes | str]:
        """The elements that end in a chunk."""
        start = 0
        place, self._is_escaped = int(self._is_escaped), False
        while mark := _MARKS.search(chunk, place):
            place = mark.end()
            sign = mark[0]
            if self._in_text:
                if sign == b"\\":
                    self._is_escaped = place == len(chunk)
                    place += 1
                self._in_text = sign != b'"'
            elif sign == b'"':
                self._in_text = True
            elif sign in b"{[":
                self._depth += 1
                if self._depth == self._base:
                    start = place
            else:
                stop = mark.start() if self._base else place
                closes = sign != b","
                if self._depth == max(self._base, 1) and (closes or self._base):
                    self._element += chunk[start:stop]
                    start = place
                    yield from self._end()
                self._depth -= closes
        if self._depth >= self._base:
            self._element += chunk[start:]
        if len(self._element) > MAX_ROW_BYTES:
            self._is_long = True
            self._element.clear()

    def _end(self) -> Iterator[bytes | str]:
        text = bytes(self._element).strip()
        if self._is_long or len(text) > MAX_ROW_BYTES:
            yield _too_long()
        elif text:
            # Line breaks are not part of any text in it.
            yield text.replace(b"\n", b" ")
        self._element.clear()
        self._is_long = False
