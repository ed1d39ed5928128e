"""Rows of thousands of ids at once, without a Python object for each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, overload

import msgspec
import numpy as np
import numpy.typing as npt

from learners.ops.ids import drop_keys, find_keys, hash_keys, move_all, put_keys
from learners.ops.msgpack import read_keys

__all__ = ["IdList", "IdMap", "some_of"]

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

_pack = msgspec.msgpack.Encoder().encode
_ALL_BITS = (1 << 64) - 1
# Where ids lie must not be foretold by who chooses them; a dictionary hides it with the same secret.
_SALT = np.uint64(hash("learners.ids") & _ALL_BITS)


class IdList(Sequence[str]):
    """Ids as they came in MessagePack, which become texts only where somebody asks for one.

    Args:
        n: how many there are.
        texts: their MessagePack, one after the other.

    Example:
        >>> ids = IdList(2, b"\\xa3tea\\xa1x")
        >>> ids[0], list(ids), ids.some([1])
        ('tea', ['tea', 'x'], ['x'])
    """

    def __init__(self, n: int, texts: bytes | memoryview) -> None:
        self._packed = b"".join([b"\xdd", n.to_bytes(4, "big"), texts])
        self.keys = _read_keys(self._packed, n)
        """Words, where each id's begin, and lengths in bytes."""

    def __len__(self) -> int:
        """How many there are."""
        return len(self.keys[2])

    @overload
    def __getitem__(self, n: int) -> str: ...
    @overload
    def __getitem__(self, n: slice) -> list[str]: ...
    def __getitem__(self, n: int | slice) -> str | list[str]:
        """An id, or some."""
        if isinstance(n, slice):
            return self._texts[n]
        return self.some([n])[0]

    def some(self, places: Sequence[int]) -> list[str]:
        """As `some_of`."""
        if len(places) > len(self) // 8:
            return [self._texts[n] for n in places]
        words, starts, lengths = self.keys
        found = [(8 * starts[n], lengths[n]) for n in places]
        data = words.view(np.uint8)
        return [data[at : at + length].tobytes().decode() for at, length in found]

    @cached_property
    def _texts(self) -> list[str]:
        return msgspec.msgpack.decode(self._packed, type=list[str])


class IdMap:
    """A collisionless map from id to row for look-ups in bulk: ids travel as one MessagePack array.

    Ten to twenty times faster than a dictionary from a few hundred ids on, and slower below a dozen. Grows
    with the ids, by 20 to 40 bytes each and the bytes of the id; room of removed ones is used again.
    `hash_bits` is for tests: with few of them all ids meet in a few places.

    Example:
        >>> ids = IdMap()
        >>> ids.put(["a", "ä", "b"], np.array([5, 6, 7], np.int32))
        >>> ids.drop(["b"])
        >>> ids.find(["ä", "b", "a"]), len(ids)
        (array([ 6, -1,  5], dtype=int32), 2)
    """

    def __init__(self, hash_bits: int = 64) -> None:
        self._cut = np.uint64((1 << hash_bits) - 1)
        self._slots = np.zeros(16, np.uint64)
        self._arena = np.zeros(32, np.uint64)
        self._used = np.array([1, 0, 0], np.int64)

    def __len__(self) -> int:
        """Ids that have a row."""
        return int(self._used[1])

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._slots.nbytes + self._arena.nbytes

    def find(self, ids: Sequence[str]) -> Int32:
        """Rows of `ids` (n,), -1 where unknown."""
        rows = np.empty(len(ids), np.int32)
        if not rows.size:
            return rows
        find_keys(*self._keys(ids), self._slots, self._arena, rows)
        return rows

    def put(self, ids: Sequence[str], rows: Int32) -> None:
        """Give each of `ids` (n,) its row."""
        keys = self._keys(ids)
        self._make_room(len(ids), len(ids) + int(keys[1][-1]))
        put_keys(*keys, rows, self._slots, self._arena, self._used)

    def drop(self, ids: Sequence[str]) -> None:
        """Forget these ids; unknown ones do not matter."""
        drop_keys(*self._keys(ids), self._slots, self._arena, self._used)

    def _keys(self, ids: Sequence[str]) -> tuple[Any, Any, Any, Any]:
        """Words, where each key's begin, lengths in bytes, and hashes."""
        if isinstance(ids, IdList):
            return self._hashed(*ids.keys)
        if type(ids) is not list:
            ids = list(ids)  # the kernels read one MessagePack array of texts, and check nothing
        try:
            text = _pack(ids)
        except UnicodeEncodeError:  # half of a surrogate pair, which MessagePack takes as bytes only
            text = _pack([name.encode("utf-8", "surrogatepass") for name in ids])
        return self._hashed(*_read_keys(text, len(ids)))

    def _hashed(self, words: Words, starts: Int64, lengths: Int32) -> tuple[Any, Any, Any, Any]:
        hashes = np.empty(lengths.size, np.uint64)
        hash_keys(words, starts, _SALT, self._cut, hashes)
        return words, starts, lengths, hashes

    def _make_room(self, n_keys: int, n_words: int) -> None:
        """Room for so many more keys, at most two thirds of the slots taken."""
        held, (taken, _, left) = len(self) + n_keys, self._used.tolist()
        n_slots = len(self._slots)
        while 3 * held > 2 * n_slots:
            n_slots *= 2
        if n_slots == len(self._slots) and taken + n_words <= self._arena.size:
            return
        slots = np.zeros(n_slots, np.uint64)
        arena = np.zeros((taken - left + n_words) * 5 // 4 + 32, np.uint64)
        move_all(self._slots, self._arena, slots, arena, self._used)
        self._slots, self._arena = slots, arena


def some_of(ids: Sequence[str], places: Sequence[int]) -> list[str]:
    """The ids at these places of a sequence."""
    return ids.some(places) if isinstance(ids, IdList) else [ids[n] for n in places]


def _read_keys(text: bytes, n: int) -> tuple[Words, Int64, Int32]:
    packed = np.frombuffer(text + bytes(8), np.uint8)
    words = np.empty(packed.size // 8 + n + 1, np.uint64)
    starts, lengths = np.zeros(n + 1, np.int64), np.empty(n, np.int32)
    read_keys(packed, words, starts, lengths)
    return words, starts, lengths
