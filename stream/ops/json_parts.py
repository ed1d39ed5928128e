"""Where the parts of a JSON array or object begin and end, found by brackets, commas and quotes alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["count_parts", "parts"]

_OPEN, _CLOSE, _COMMA = 1, 2, 3
_KINDS = np.zeros(256, np.uint8)
_KINDS[list(b"[{")] = _OPEN
_KINDS[list(b"]}")] = _CLOSE
_KINDS[list(b",")] = _COMMA
_QUOTE = ord('"')


def _commas(text: bytes) -> NDArray[np.int64] | None:
    """Where the commas of the outermost brackets stand; None if the brackets of `text` do not match.

    Takes some 20 bytes of memory for each bracket or comma.
    """
    if b"\\" in text:
        text = text.replace(b"\\\\", b"__").replace(b'\\"', b"__")
    codes = np.frombuffer(text, np.uint8)
    kinds = _KINDS[codes]
    kinds[np.bitwise_xor.accumulate(codes == _QUOTE)] = 0  # within a string
    places = np.flatnonzero(kinds)
    kinds = kinds[places]
    steps = (kinds == _OPEN).view(np.int8) - (kinds == _CLOSE).view(np.int8)
    depth = np.cumsum(steps, dtype=np.int32)
    if len(depth) < 2 or depth[-1] != 0 or depth[:-1].min() < 1:
        return None
    found: NDArray[np.int64] = places[(kinds == _COMMA) & (depth == 1)]
    return found


def count_parts(text: bytes) -> int:
    """Parts of an array or object between its outermost commas; of an empty one, 1.

    Example:
        >>> count_parts(b'[1, [2, 3], "4, 5"]')
        3
    """
    commas = _commas(text)
    return 0 if commas is None else len(commas) + 1


def parts(text: bytes, most: int) -> list[bytes] | None:
    """The parts of an array or object, without spaces around them, whatever they hold.

    None if its brackets do not match, nothing stands between two commas, or there are more than `most`.

    Example:
        >>> parts(b'[{"a": NaN}, "\\\\ud83d, ]", 1.2.3]', 10)
        [b'{"a": NaN}', b'"\\\\ud83d, ]"', b'1.2.3']
        >>> parts(b"[]", 10), parts(b"[1,]", 10), parts(b"[1, [2]", 10)
        ([], None, None)
    """
    text = text.strip()
    commas = _commas(text)
    if (
        commas is None
        or len(commas) >= most
        or _KINDS[text[0]] != _OPEN
        or ord("]}"[text[0] == 123]) != text[-1]
    ):
        return None
    inner = commas.tolist()
    starts, ends = [0, *inner], [*inner, len(text) - 1]
    found = [text[start + 1 : end].strip() for start, end in zip(starts, ends, strict=True)]
    if found == [b""]:
        return []
    return None if b"" in found else found
