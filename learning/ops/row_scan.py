"""Rows by id out of MessagePack, thousands at once: where in the bytes each cell of a known part lies.

A row is read a million times at a start. An object for each of its cells would cost an allocation then, and
a miss of the cache when it is looked at, and one more when it is freed. So rows stay bytes, and only
places in them are noted. What is not just as expected is left to slower code, which says what is wrong.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from learners.ops.msgpack import read_big, read_integer, read_word
from stream.kernel import bare_kernel

__all__ = ["BYTES", "IDS", "PACKED_CELL", "copy_cells", "copy_ranges", "scan_rows"]

Bytes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]
Int64 = npt.NDArray[np.int64]

_FIRST_ID, _ENTERED, _PARTS, _SCHEMA, _VERSION, _KIND = 0, 1, 2, 3, 4, 5
PACKED_CELL, BYTES, IDS = 0, 1, 2
_LARGEST = 1 << 62
_NOT_ASCII = np.uint64(0x8080808080808080)


@bare_kernel
def _sized(data: Bytes, at: int, end: int, fix: int, n_fix: int, first: int, n_first: int) -> tuple[int, int]:
    """The length that stands at `at`, and what follows it; -1 where no value of this type begins there.

    Short ones have heads from `fix` on, `n_fix` of them; longer ones `first` and the next, whose lengths
    have `n_first` bytes and twice as many each time, up to four.
    """
    if at >= end:
        return -1, at
    head = int(np.int64(data[at]))
    if fix <= head < fix + n_fix:
        return head - fix, at + 1
    n_bytes = n_first
    while first < head and n_bytes < 4:
        first, n_bytes = first + 1, 2 * n_bytes
    if head != first or at + 1 + n_bytes > end:
        return -1, at
    return int(np.int64(read_big(data, at + 1, n_bytes))), at + 1 + n_bytes


@bare_kernel
def _text(data: Bytes, at: int, end: int) -> tuple[int, int]:
    length, at = _sized(data, at, end, 0xA0, 32, 0xD9, 1)
    return (length if length <= end - at else -1), at


@bare_kernel
def _binary(data: Bytes, at: int, end: int) -> tuple[int, int]:
    length, at = _sized(data, at, end, 0xC4, 0, 0xC4, 1)
    return (length if length <= end - at else -1), at


@bare_kernel
def _skip(data: Bytes, at: int, end: int) -> int:
    """Behind the value that begins at `at`; -1 where there is none, or an extension."""
    left = 1
    while left > 0:
        if at >= end or left > end - at:
            return -1
        head, left = int(np.int64(data[at])), left - 1
        if head < 0x80 or head >= 0xE0 or head in (0xC0, 0xC2, 0xC3):
            at += 1
        elif head < 0x90 or head >= 0xDE:
            n, at = _sized(data, at, end, 0x80, 16, 0xDE, 2)
            left += 2 * n
        elif head < 0xA0 or head >= 0xDC:
            n, at = _sized(data, at, end, 0x90, 16, 0xDC, 2)
            left += n
        elif head < 0xC0 or head >= 0xD9:
            n, at = _text(data, at, end)
            at += n
        elif 0xC4 <= head < 0xC7:
            n, at = _binary(data, at, end)
            at += n
        elif head in (0xCA, 0xCB):
            n, at = 0, at + (5 if head == 0xCA else 9)
        elif 0xCC <= head < 0xD4:
            n, at = 0, at + 1 + (1 << (head & 3))
        else:
            return -1
        if head >= 0x80 and head < 0xE0 and head not in (0xC0, 0xC2, 0xC3) and n < 0:
            return -1
    return at if at <= end else -1


@bare_kernel
def _is_text(data: Bytes, at: int, end: int) -> bool:
    """Whether these bytes are UTF-8, without halves of surrogate pairs and longer forms than needed."""
    while at + 8 <= end and read_word(data, np.uint64(at)) & _NOT_ASCII == np.uint64(0):
        at += 8
    while at < end:
        head = int(np.int64(data[at]))
        if head < 0x80:
            at += 1
            continue
        more = 1 if 0xC2 <= head < 0xE0 else 2 if 0xE0 <= head < 0xF0 else 3 if 0xF0 <= head < 0xF5 else 0
        if more == 0 or at + more >= end:
            return False
        second = int(np.int64(data[at + 1]))
        least = 0xA0 if head == 0xE0 else 0x90 if head == 0xF0 else 0x80
        most = 0x9F if head == 0xED else 0x8F if head == 0xF4 else 0xBF
        if second < least or second > most:
            return False
        for k in range(at + 2, at + more + 1):
            if data[k] & np.uint8(0xC0) != np.uint8(0x80):
                return False
        at += more + 1
    return True


@bare_kernel
def _same(data: Bytes, at: int, names: Bytes, start: int, length: int) -> bool:
    k = 0
    while k < length and data[at + k] == names[start + k]:
        k += 1
    return k >= length


@bare_kernel
def _named(
    data: Bytes, at: int, length: int, names: Bytes, places: Int64, first: int, n: int, guess: int
) -> int:
    """Which of the names `first` to `first + n` this is, -1 for none; looked for from `guess` on."""
    for k in range(n):
        one = first + (guess + k) % n
        if places[one, 1] == length and _same(data, at, names, places[one, 0], length):
            return one
    return -1


@bare_kernel
def _ids(data: Bytes, at: int, end: int, most: int) -> tuple[int, int, int]:
    """How many ids the array has that begins at `at`, where the first one begins, and what follows the last
    one; -1 where it is none, or has more than `most`."""
    n, at = _sized(data, at, end, 0x90, 16, 0xDC, 2)
    first = at
    if n < 0 or n > most:
        return -1, at, at
    for _ in range(n):
        length, at = _text(data, at, end)
        if length < 0 or not _is_text(data, at, at + length):
            return -1, at, at
        at += length
    return n, first, at


@bare_kernel
def _says(data: Bytes, at: int, names: Bytes, settings: Int64, low: int, high: int) -> bool:
    """Whether a packed cell has the settings that are followed, or zeros for those that it does not say."""
    for k in range(low, high):
        place, start, length = at + settings[k, 0], settings[k, 1], settings[k, 2]
        unsaid = True
        for byte in range(length):
            unsaid &= data[place + byte] == np.uint8(0)
        if not unsaid and not _same(data, place, names, start, length):
            return False
    return True


@bare_kernel
def _cell(
    data: Bytes, at: int, end: int, names: Bytes, rules: Int64, cell: int, settings: Int64, found: Int64,
    row: int,
) -> int:  # fmt: skip
    """Note where a cell lies; behind it, -1 where it is none of its column.

    `rules` (n, 5): number of a cell in `found`, kind, width or most, and the settings from and to.
    """
    kind, most = rules[cell, 1], rules[cell, 2]
    if kind == IDS:
        n, first, at = _ids(data, at, end, most)
        size = at - first
    else:
        n, first = _binary(data, at, end)
        at, size = first + n, n
        if kind == PACKED_CELL:
            if n != most or not _says(data, first, names, settings, rules[cell, 3], rules[cell, 4]):
                return -1
            most = n
    if n < 0 or n > most:
        return -1
    number = rules[cell, 0]
    found[row, number, 0], found[row, number, 1], found[row, number, 2] = first, n, size
    return at


@bare_kernel
def _parts(
    data: Bytes, at: int, end: int, names: Bytes, places: Int64, parts: Int64, rules: Int64, settings: Int64,
    lenient: bool, found: Int64, row: int,
) -> int:  # fmt: skip
    """Note the cells of all parts; behind them, -1 where something is not as expected.

    `parts` (n, 2): of each known name of a part, which are the first of `places`, where those of its cells
    begin there, and how many there are; none for a part that is passed over. `rules` are those of `places`.
    """
    n_parts, at = _sized(data, at, end, 0x80, 16, 0xDE, 2)
    guess = 0
    for _ in range(n_parts):
        length, at = _text(data, at, end)
        part = _named(data, at, length, names, places, 0, parts.shape[0], guess) if length >= 0 else -1
        if length < 0 or (part < 0 and not lenient):
            return -1
        at += length
        if part < 0 or parts[part, 1] == 0:
            at = _skip(data, at, end)
            if at < 0:
                return -1
            continue
        guess = part + 1
        n_cells, at = _sized(data, at, end, 0x80, 16, 0xDE, 2)
        if n_cells < 0:
            return -1
        next_cell = 0
        for _ in range(n_cells):
            length, at = _text(data, at, end)
            if length < 0:
                return -1
            first, n = parts[part, 0], parts[part, 1]
            cell = _named(data, at, length, names, places, first, n, next_cell)
            if cell < 0 and not lenient:
                return -1
            at += length
            if cell < 0 or rules[cell, 0] < 0:
                at = _skip(data, at, end)
            else:
                at = _cell(data, at, end, names, rules, cell, settings, found, row)
            if at < 0:
                return -1
            next_cell = cell - first + 1
    return at if n_parts >= 0 else -1


@bare_kernel
def _whole(data: Bytes, at: int, end: int) -> tuple[int, int]:
    """The whole number at `at`, and what follows it; -1 for that where there is none of 62 bits."""
    head = int(np.int64(data[at])) if at < end else 0xC0
    if not (head < 0x80 or head >= 0xE0 or 0xCC <= head < 0xD4):
        return 0, -1
    value, after = read_integer(data, at)
    wraps = head == 0xCF and value < 0
    return value, (after if after <= end and not wraps and -_LARGEST <= value <= _LARGEST else -1)


@bare_kernel
def scan_rows(
    data: Bytes, ends: Int64, keys: Bytes, key_ends: Int64, heads: Bytes, head_places: Int64, wanted: Int64,
    names: Bytes, places: Int64, parts: Int64, rules: Int64, settings: Int64, lenient: bool, found: Int64,
    entered: Int64, fits: Bools,
) -> None:  # fmt: skip
    """Find the cells of rows (n,) that end at `ends` (n + 1,), the first of which is where they begin.

    Args:
        data: rows, and some bytes more behind them, which do not matter.
        keys: ids that rows must have, one after the other, ending at `key_ends` (n + 1,).
        heads: names of the fields of a row, in the order of this file's numbers, and last the kind's name.
        wanted: schema and version.
        names: of parts and cells, and settings.
        places: where in `names` each stands, and its length.
        parts, rules, settings: as `_parts`, `_cell` and `_says` take them.
        lenient: pass over names that are not known.
        found: (n, cells, 3) of zeros: where each cell begins, elements, bytes.
        entered: (n,), when an item was entered.
        fits: (n,), which rows are just as expected; what was noted of others means nothing.
    """
    for row in range(fits.size):
        at, end = ends[row], ends[row + 1]
        n_fields, at = _sized(data, at, end, 0x80, 16, 0xDE, 2)
        fits[row], has_id, has_kind, guess = n_fields >= 0, False, False, 0
        for _ in range(n_fields):
            length, at = _text(data, at, end)
            if length < 0:
                fits[row] = False
                break
            field = _named(data, at, length, heads, head_places, 0, 6, guess)
            at += length
            guess = field + 1
            if field in (_FIRST_ID, _KIND):
                length, at = _text(data, at, end)
                is_id = field == _FIRST_ID
                low = key_ends[row] if is_id else head_places[6, 0]
                size = key_ends[row + 1] - low if is_id else head_places[6, 1]
                good = length == size and _same(data, at, keys if is_id else heads, low, size)
                has_id, has_kind = has_id or is_id, has_kind or not is_id
                at += length
            elif field in (_ENTERED, _SCHEMA, _VERSION):
                value, at = _whole(data, at, end)
                good = at >= 0
                if field == _ENTERED:
                    entered[row] = value
                else:
                    good &= value == wanted[field - _SCHEMA]
            elif field == _PARTS:
                at = _parts(data, at, end, names, places, parts, rules, settings, lenient, found, row)
                good = at >= 0
            else:
                at = _skip(data, at, end)
                good = at >= 0
            if not good:
                fits[row] = False
                break
        fits[row] = fits[row] and has_id and has_kind and at == end


@bare_kernel
def copy_cells(data: Bytes, starts: Int64, out: Bytes) -> None:
    """Fill `out` (n, width) with what begins at `starts` (n,), zeros where that is 0."""
    for row in range(starts.size):
        at = starts[row]
        for byte in range(out.shape[1]):
            out[row, byte] = data[at + byte] if at else np.uint8(0)


@bare_kernel
def copy_ranges(data: Bytes, starts: Int64, sizes: Int64, out: Bytes) -> None:
    """Put what begins at `starts` (n,), `sizes` (n,) bytes each, into `out`, without gaps."""
    to = 0
    for row in range(starts.size):
        at = starts[row]
        for byte in range(sizes[row]):
            out[to + byte] = data[at + byte]
        to += sizes[row]
