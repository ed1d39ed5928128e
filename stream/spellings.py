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

import numpy as np
from numpy.typing import NDArray

__all__ = ["Spellings", "note_of_unreadable", "plain_spellings"]

_FEW = 8
_MIN_ENCODED = 4  # bytes; shorter ids would be found in any base64
_MAX_ENCODED = 64  # ids
_STRAY = 8  # one byte in so many may be none of text
_WORD = np.zeros(256, np.bool_)
_WORD[[*range(48, 58), *range(65, 91), *range(97, 123)]] = True
_WORD_BYTES = frozenset(np.flatnonzero(_WORD).tolist())
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
        self._lengths = sorted({len(one) for one in self._ids})
        long = [one for one in self._ids if len(one) >= _MIN_ENCODED]
        self._encoded = [form for one in long for form in _base64(one)] if len(long) <= _MAX_ENCODED else []
        self._starts: NDArray[np.bool_] | None = None
        if len(self._ids) > _FEW:
            self._starts = np.zeros(1 << 16, np.bool_)
            for one in self._ids:
                if len(one) > 1:
                    self._starts[one[0] << 8 | one[1]] = True
                else:
                    self._starts[one[0] << 8 : (one[0] + 1) << 8] = True

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
        if self._starts is None:
            return any(_is_word_in(one, data) for one in self._ids)
        return any(self._matches(data, at) for at in self._candidates(data))

    def _matches(self, data: bytes, at: int) -> bool:
        n = len(data)
        for length in self._lengths:
            end = at + length
            if end > n:
                return False
            if (end == n or data[end] not in _WORD_BYTES or data[end - 1] not in _WORD_BYTES) and data[
                at:end
            ] in self._ids:
                return True
        return False

    def _candidates(self, data: bytes) -> Iterator[int]:
        """Places where a word of one of the ids may begin."""
        if self._starts is None or not data:
            return
        text = np.frombuffer(data + b"\0", np.uint8)
        pairs = text[:-1].astype(np.uint16) << 8 | text[1:]
        begins = self._starts[pairs]
        # A word goes on where this byte and the one before are both letters or digits.
        word = _WORD[text[:-1]]
        begins[1:] &= ~(word[1:] & word[:-1])
        yield from np.flatnonzero(begins).tolist()


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
