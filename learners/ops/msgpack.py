"""Columns out of MessagePack: the cheapest bridge from many small Python lists to machine code.

Only what the encoder of this program writes is read: arrays, text, bytes, numbers, booleans and nil.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stream.kernel import kernel

__all__ = ["read_big", "read_integer", "read_keys", "read_length", "read_number", "read_word"]

Bytes = npt.NDArray[np.uint8]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]


@kernel
def read_big(packed: Bytes, at: int, n: int) -> np.uint64:
    """The `n` bytes at `at` as a number, the first one the highest."""
    value = np.uint64(0)
    for k in range(at, at + n):
        value = (value << np.uint64(8)) | np.uint64(packed[k])
    return value


@kernel
def read_length(packed: Bytes, at: int) -> tuple[int, int]:
    """Elements of the array, or bytes of the text, that begins at `at`, and where its content begins.

    Bytes are read like text; nil has no elements.
    """
    head = int(np.int64(packed[at]))
    if 0x90 <= head < 0xA0:
        return head - 0x90, at + 1
    if 0xA0 <= head < 0xC0:
        return head - 0xA0, at + 1
    if head == 0xC0:
        return 0, at + 1
    n_bytes = 1 if head in (0xC4, 0xD9) else 2 if head in (0xC5, 0xDA, 0xDC) else 4
    return int(np.int64(read_big(packed, at + 1, n_bytes))), at + 1 + n_bytes


@kernel
def read_integer(packed: Bytes, at: int) -> tuple[int, int]:
    """The whole number or boolean that begins at `at`, and where the next value begins."""
    head = int(np.int64(packed[at]))
    if head < 0x80:
        return head, at + 1
    if head >= 0xE0:
        return head - 256, at + 1
    if head < 0xCC:  # false is 0xC2
        return head - 0xC2, at + 1
    n_bytes = 1 << (head & 3)
    value = int(np.int64(read_big(packed, at + 1, n_bytes)))
    if head >= 0xD0 and n_bytes < 8:
        unused = 64 - 8 * n_bytes
        value = (value << unused) >> unused
    return value, at + 1 + n_bytes


@kernel
def read_number(packed: Bytes, at: int, bits: Words, value: npt.NDArray[np.float64]) -> tuple[float, int]:
    """The number that begins at `at`, NaN for nil, and where the next value begins.

    `bits` (1,) and `value` (1,) are the same eight bytes, seen as either type.
    """
    head = int(np.int64(packed[at]))
    if head == 0xCB:
        bits[0] = read_big(packed, at + 1, 8)
        return value[0], at + 9
    if head == 0xC0:
        return np.nan, at + 1
    whole, after = read_integer(packed, at)
    return float(whole), after


@kernel
def read_word(packed: Bytes, at: np.uint64) -> np.uint64:
    """The eight bytes at `at`, the first one the lowest; spelt so that it becomes one instruction."""
    low = np.uint64(packed[at]) | (np.uint64(packed[at + np.uint64(1)]) << np.uint64(8))
    low |= np.uint64(packed[at + np.uint64(2)]) << np.uint64(16)
    low |= np.uint64(packed[at + np.uint64(3)]) << np.uint64(24)
    high = np.uint64(packed[at + np.uint64(4)]) | (np.uint64(packed[at + np.uint64(5)]) << np.uint64(8))
    high |= np.uint64(packed[at + np.uint64(6)]) << np.uint64(16)
    high |= np.uint64(packed[at + np.uint64(7)]) << np.uint64(24)
    return low | (high << np.uint64(32))


@kernel
def read_keys(packed: Bytes, words: Words, starts: Int64, lengths: Int32) -> None:
    """Texts of one array, each as 64-bit words, the last one filled up with zeros.

    `lengths` (n,) are bytes; the words of text k are `words[starts[k] : starts[k + 1]]`. Behind the array
    `packed` has eight more bytes, which are read and do not matter.
    """
    n, at = read_length(packed, 0)
    to = 0
    for k in range(n):
        length, at = read_length(packed, at)
        lengths[k], starts[k] = length, to
        end = at + length
        while at + 8 <= end:
            words[to] = read_word(packed, np.uint64(at))
            at, to = at + 8, to + 1
        if at < end:
            rest = np.uint64(8 * (end - at))
            words[to] = read_word(packed, np.uint64(at)) & ((np.uint64(1) << rest) - np.uint64(1))
            at, to = end, to + 1
    starts[n] = to
