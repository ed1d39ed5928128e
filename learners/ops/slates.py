"""Slates between three forms: what was logged, one run of 32-bit words each, and the columns of a block.

The words of a slate with n places: user row, number of other candidates, whether it was decided, the two
halves of its time, then n item rows, n propensities (float32), n flags of what was explored, and K clusters
and K weights (float32), padded.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from learners.ops.msgpack import read_integer, read_length, read_number
from stream.kernel import kernel

__all__ = ["HEAD", "LACKS_ITEMS", "LACKS_USER", "read_slates", "write_slates"]

Bytes = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

HEAD = 5
"""Words before the item rows."""

LACKS_USER, LACKS_ITEMS = 1, 2
"""Which rows of a slate are missing: the sum of what holds."""


@kernel
def write_slates(
    packed: Bytes, users: Int32, items: Int32, counts: Int32, at: Int64, width: int, words: Int32,
    reals: Float32, lacks: npt.NDArray[np.int8],
) -> None:  # fmt: skip
    """Write slates as words, slate s to `words[at[s] : at[s + 1]]`, which `reals` shows as float32.

    `packed` is MessagePack: for each slate (time, decided, number of others, propensities or nil, clusters,
    weights, explored places). `users` (S,) and `items` (sum of `counts`,) are rows; `lacks` (S,) tells
    which of them are -1.
    """
    bits = np.empty(1, np.uint64)
    value = bits.view(np.float64)
    n_slates, to = read_length(packed, 0)
    first = 0
    for s in range(n_slates):
        n, base = counts[s], at[s]
        words[base] = users[s]
        lacks[s] = LACKS_USER if users[s] < 0 else 0
        _, to = read_length(packed, to)
        ts, to = read_integer(packed, to)
        decided, to = read_integer(packed, to)
        others, to = read_integer(packed, to)
        words[base + 1], words[base + 2] = others, decided
        # A time has 64 bits and a word 32: the lower half, then the upper with the sign.
        words[base + 3], words[base + 4] = np.int32(ts & 0xFFFFFFFF), np.int32(ts >> 32)
        base += HEAD
        for j in range(n):
            words[base + j] = items[first + j]
            if items[first + j] < 0:
                lacks[s] |= LACKS_ITEMS
            # NaN is a propensity that was not logged: 0 would say that the item could not be shown.
            reals[base + n + j] = np.float32(np.nan)
            words[base + 2 * n + j] = 0
        first += n
        length, to = read_length(packed, to)
        for j in range(length):
            number, to = read_number(packed, to, bits, value)
            if j < n:
                reals[base + n + j] = np.float32(number)
        base += 3 * n
        n_clusters, to = read_length(packed, to)
        for j in range(n_clusters):
            cluster, to = read_integer(packed, to)
            if j < width:
                words[base + j] = cluster
        length, to = read_length(packed, to)
        for j in range(length):
            number, to = read_number(packed, to, bits, value)
            if j < width:
                reals[base + width + j] = np.float32(number)
        for j in range(min(n_clusters, length), width):
            words[base + j], reals[base + width + j] = -1, np.float32(0.0)
        length, to = read_length(packed, to)
        for _ in range(length):
            place, to = read_integer(packed, to)
            if 0 <= place < n:
                words[base - n + place] = 1


@kernel
def read_slates(
    words: Int32, reals: Float32, at: Int64, start: Int32, users: Int32, others: Int32, decided: Bool,
    ts: Int64, items: Int32, propensity: Float32, explored: Bool, clusters: Int32, weights: Float32,
) -> None:  # fmt: skip
    """Turn the words of slates into columns; `start` (S + 1,) says where the places of each slate begin."""
    width = clusters.shape[1]
    for s in range(users.size):
        base, low, n = at[s], start[s], start[s + 1] - start[s]
        users[s], others[s], decided[s] = words[base], words[base + 1], words[base + 2] != 0
        ts[s] = (np.int64(words[base + 4]) << 32) | (np.int64(words[base + 3]) & 0xFFFFFFFF)
        base += HEAD
        for j in range(n):
            items[low + j] = words[base + j]
            propensity[low + j] = reals[base + n + j]
            explored[low + j] = words[base + 2 * n + j] != 0
        base += 3 * n
        for j in range(width):
            clusters[s, j], weights[s, j] = words[base + j], reals[base + width + j]
