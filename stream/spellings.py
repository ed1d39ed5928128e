"""Where an id stands in bytes, however it is spelled: as it is, escaped, percent-encoded, in base64.

An id is found as a word: no ASCII letter or digit touches it on either side, so that user `1` is not found in
`order 17`. What is compressed or encrypted cannot be searched; dead letters keep only a note of it.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator
from hashlib import sha256
from urllib.parse import unquote_to_bytes

__all__ = ["Spellings", "note_of_unreadable", "plain_spellings"]

_FEW = 8
_MIN_ENCODED = 4  # bytes; shorter ids would be found in any base64
_MAX_ENCODED = 64  # ids
_STRAY = 8  # one byte in so many may be none of text
_WORD_BYTES = frozenset(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_RUN = re.compile(rb"[0-9A-Za-z]+")
_ESCAPE = re.compile(rb'((?:\\u[0-9a-fA-F]{4})+)|\\x([0-9a-fA-F]{2})|\\(["\\/bfnrt\'])')
_SHORT = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}
_CONTROL = bytes(set(range(32)) - {9, 10, 13}) + b"\x7f"
_PACKED = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"\xfd7zXZ\x00": "xz",
    b"BZh": "bzip2",
    b"PK\x03\x04": "zip",
    b"\xff\x06\x00\x00sNaPpY": "snappy",
}


class Spellings:
    """A set of ids to look for.

    Args:
        ids: as text, of 1 to 256 bytes each.

    Example:
        >>> ann = Spellings(["ann é"])
        >>> [ann.found(text.encode()) for text in ("by ann é.", "joann é", "ann%20%C3%A9", r"ann \\u00e9")]
        [True, False, True, True]
        >>> Spellings(["1"]).found(b'"qty": 17'), Spellings(["1"]).found(b'"qty": 1')
        (False, True)
    """

    def __init__(self, ids: Iterable[str]) -> None:
        self._ids = {text.encode() for text in ids if text}
        long = [one for one in self._ids if len(one) >= _MIN_ENCODED]
        self._encoded = [form for one in long for form in _base64(one)] if len(long) <= _MAX_ENCODED else []
        # Of many ids only those are looked for of which the longest run of letters and digits is there.
        self._by_run: dict[bytes, list[bytes]] = {}
        self._plain = list(self._ids) if len(self._ids) <= _FEW else []
        for one in () if self._plain else self._ids:
            run = max(_RUN.findall(one), key=len, default=b"")
            (self._by_run.setdefault(run, []) if run else self._plain).append(one)
        shortest = min(map(len, self._by_run), default=1)
        self._runs = re.compile(rb"[0-9A-Za-z]{%d,}" % shortest)

    def __len__(self) -> int:
        return len(self._ids)

    def found(self, data: bytes, *, encoded: bool = False) -> bool:
        """Whether one of the ids stands in these bytes; with `encoded` also in base64 (of up to 64 ids)."""
        if not self._ids:
            return False
        if any(map(self._stands_in, plain_spellings(data))):
            return True
        return encoded and any(form in data for form in self._encoded)

    def _stands_in(self, data: bytes) -> bool:
        if any(_is_word_in(one, data) for one in self._plain):
            return True
        if not self._by_run:
            return False
        found = self._by_run.keys() & self._runs.findall(data)
        return any(_is_word_in(one, data) for run in found for one in self._by_run[run])


def _is_word_in(word: bytes, data: bytes) -> bool:
    at = data.find(word)
    while at >= 0:
        end = at + len(word)
        before = at > 0 and data[at - 1] in _WORD_BYTES and word[0] in _WORD_BYTES
        after = end < len(data) and data[end] in _WORD_BYTES and word[-1] in _WORD_BYTES
        if not before and not after:
            return True
        at = data.find(word, at + 1)
    return False


def plain_spellings(data: bytes, depth: int = 2) -> Iterator[bytes]:
    """The bytes as they are, and what they say where backslashes, percent signs or ampersands escape.

    `depth` times one in another, such as JSON in a string of JSON.

    Example:
        >>> list(plain_spellings(b"a%20b")), list(plain_spellings(b"a%2520b"))
        ([b'a%20b', b'a b'], [b'a%2520b', b'a%20b', b'a b'])
    """
    yield data
    if depth:
        for read in (_read_escapes, _read_percents, _read_form, _read_entities):
            if (plain := read(data)) != data:
                yield from plain_spellings(plain, depth - 1)


def _read_escapes(data: bytes) -> bytes:
    return _ESCAPE.sub(_unescaped, data) if b"\\" in data else data


def _read_percents(data: bytes) -> bytes:
    return unquote_to_bytes(data) if b"%" in data else data


def _read_form(data: bytes) -> bytes:
    return unquote_to_bytes(data.replace(b"+", b" ")) if b"+" in data else data


def _read_entities(data: bytes) -> bytes:
    if b"&" not in data:
        return data
    return html.unescape(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogatepass")


def _unescaped(match: re.Match[bytes]) -> bytes:
    code, byte, short = match.groups()
    if code is not None:
        return str(json.loads(b'"%b"' % code)).encode("utf-8", "replace")
    if byte is not None:
        return bytes([int(byte, 16)])
    return _SHORT.get(short, short)


def _base64(text: bytes) -> set[bytes]:
    """What stands in the base64 of any bytes that hold `text`: one form for each of three places."""
    forms: set[bytes] = set()
    for before in range(3):
        padded = bytes(before) + text
        # Characters that are made of bits of `text` alone.
        first, last = -(-before * 8 // 6), len(padded) * 8 // 6
        forms |= {encode(padded)[first:last] for encode in (base64.b64encode, base64.urlsafe_b64encode)}
    return forms


def note_of_unreadable(data: bytes, n_bytes: int | None = None) -> bytes | None:
    """What to keep instead of bytes that are no text, for nobody could find an id in them; None for text.

    Text may have a stray byte in eight: another encoding, half a character. `n_bytes` says how many there
    were in all if `data` is only the beginning.

    Example:
        >>> import gzip
        >>> note_of_unreadable(b'{"user_id": "ann"'), note_of_unreadable(gzip.compress(b"ann"))[:23]
        (None, b'(23 bytes of gzip, not ')
    """
    kind = next((name for magic, name in _PACKED.items() if data.startswith(magic)), "")
    if not kind:
        read = data.decode("utf-8", "ignore").encode()
        n_stray = len(data) - len(read) + len(read) - len(read.translate(None, _CONTROL))
        if n_stray * _STRAY <= len(data):
            return None
        kind = "no text"
    digest = sha256(data).hexdigest()[:16]
    return (
        f"({n_bytes or len(data)} bytes of {kind}, not kept: nobody could search them for a forgotten user; "
        f"sha256 of the first {len(data)}: {digest}…)"
    ).encode()
