"""A hash table from ids to rows in three arrays: what an embedding table asks for thousands of ids at once.

Ids are texts as 64-bit words (`learners.ops.msgpack.read_keys`). `slots` (capacity,), a power of two of
them, hold the lower half of a key's hash and, below it, where its entry lies in `arena`, 0 for an empty slot;
the next free slot is taken when two meet (linear probing). An entry is one word with the row and the key's
length in bytes, then the key's own words, so that a hit is a comparison of whole keys and never of hashes
alone. `used` (3,): words of the arena that are taken, keys that are held, words that removed keys have left
behind.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from learners.ops.hashing import mix
from stream.kernel import kernel

__all__ = ["drop_keys", "find_keys", "hash_keys", "move_all", "put_keys"]

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

_32, _HALF = np.uint64(32), np.uint64(0xFFFFFFFF)


@kernel
def hash_keys(words: Words, starts: Int64, salt: np.uint64, cut: np.uint64, hashes: Words) -> None:
    """Hash each key; `cut` (all ones but in tests) says which bits of a hash are kept."""
    for k in range(hashes.size):
        value = salt
        for w in range(starts[k], starts[k + 1]):
            value = mix(value ^ words[w], salt)
        hashes[k] = value & cut


@kernel
def _low(word: np.uint64) -> int:
    return int(np.int64(word & _HALF))


@kernel
def _high(word: np.uint64) -> int:
    return int(np.int64(word >> _32))


@kernel
def _holds(arena: Words, entry: int, words: Words, start: int, length: int) -> bool:
    """Whether the entry's key is this one."""
    # Lengths first: words are padded with zeros, so "a" and "a\0" have the same words.
    if arena[entry] >> _32 != np.uint64(length):
        return False
    w, n = 0, (length + 7) // 8
    while w < n and arena[entry + 1 + w] == words[start + w]:
        w += 1
    return w == n


@kernel
def _slot_of(slots: Words, arena: Words, key_hash: np.uint64, words: Words, start: int, length: int) -> int:
    """The slot that holds this key, or the empty one where it belongs."""
    mask = slots.size - 1
    slot, half = _low(key_hash) & mask, key_hash << _32
    while slots[slot] != np.uint64(0):
        entry = _low(slots[slot])
        if slots[slot] & ~_HALF == half and _holds(arena, entry, words, start, length):
            break
        slot = (slot + 1) & mask
    return slot


@kernel
def find_keys(
    words: Words, starts: Int64, lengths: Int32, hashes: Words, slots: Words, arena: Words, rows: Int32
) -> np.uint64:
    """Rows (n,) of the keys, -1 where unknown; returns a sum that only keeps early reads from being left out.

    The reads of the first two loops do not wait for each other, so the memory answers many at a time; the
    third then finds nearly all it needs close by.
    """
    mask = slots.size - 1
    total = np.uint64(0)
    for low in range(0, rows.size, 64):
        high = min(low + 64, rows.size)
        for k in range(low, high):
            rows[k] = _low(slots[_low(hashes[k]) & mask])
        for k in range(low, high):
            total += arena[rows[k]]
        for k in range(low, high):
            slot = _slot_of(slots, arena, hashes[k], words, starts[k], lengths[k])
            entry = _low(slots[slot])
            rows[k] = _low(arena[entry]) if entry else -1
    return total


@kernel
def put_keys(
    words: Words, starts: Int64, lengths: Int32, hashes: Words, rows: Int32, slots: Words, arena: Words,
    used: Int64,
) -> None:  # fmt: skip
    """Give each key its row; a key that is held already changes it. The caller has made room."""
    for k in range(rows.size):
        slot = _slot_of(slots, arena, hashes[k], words, starts[k], lengths[k])
        entry = _low(slots[slot])
        if entry == 0:
            entry = int(used[0])
            slots[slot] = (hashes[k] << _32) | np.uint64(entry)
            n = starts[k + 1] - starts[k]
            for w in range(n):
                arena[entry + 1 + w] = words[starts[k] + w]
            used[0] += 1 + n
            used[1] += 1
        arena[entry] = (np.uint64(lengths[k]) << _32) | np.uint64(rows[k])


@kernel
def drop_keys(
    words: Words, starts: Int64, lengths: Int32, hashes: Words, slots: Words, arena: Words, used: Int64
) -> None:
    """Take keys out; those behind them move up, so that no search ends too early."""
    mask = slots.size - 1
    for k in range(lengths.size):
        hole = _slot_of(slots, arena, hashes[k], words, starts[k], lengths[k])
        if slots[hole] == np.uint64(0):
            continue
        used[1] -= 1
        used[2] += 1 + starts[k + 1] - starts[k]
        slot = (hole + 1) & mask
        while slots[slot] != np.uint64(0):
            home = _high(slots[slot]) & mask
            # Moving it into the hole must not place it before its home, where no search would find it.
            if (slot - home) & mask >= (slot - hole) & mask:
                slots[hole] = slots[slot]
                hole = slot
            slot = (slot + 1) & mask
        slots[hole] = np.uint64(0)


@kernel
def move_all(old_slots: Words, old_arena: Words, slots: Words, arena: Words, used: Int64) -> None:
    """Move every key into empty, roomier arrays, without what removed keys have left behind."""
    mask = slots.size - 1
    to = 1  # an entry at 0 would look like an empty slot
    for old in old_slots:
        entry = _low(old)
        if entry == 0:
            continue
        slot = _high(old) & mask
        while slots[slot] != np.uint64(0):
            slot = (slot + 1) & mask
        slots[slot] = (old & ~_HALF) | np.uint64(to)
        length = _high(old_arena[entry])
        for w in range(1 + (length + 7) // 8):
            arena[to + w] = old_arena[entry + w]
        to += 1 + (length + 7) // 8
    used[0], used[2] = to, 0
