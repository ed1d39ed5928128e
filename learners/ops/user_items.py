"""What each user was shown and touched lately: a few words an item, found by a scan of 32-bit keys.

A user's record is (3, W) words: keys, seconds, and counts. The first `n` columns are in use.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from learners.ops.prefetch import prefetch_row
from learners.ops.table import mark
from stream.kernel import kernel
from stream.ops.kinds import CLICK, ORGANIC, SHOWN

__all__ = ["add_seen", "add_touches", "seen_features", "session_features"]

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int8 = npt.NDArray[np.int8]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
UInt8 = npt.NDArray[np.uint8]
UInt32 = npt.NDArray[np.uint32]
UInt64 = npt.NDArray[np.uint64]

_KEY, _AT, _COUNTS = 0, 1, 2
_SHOWN_ONE, _CLICK_ONE = 1, 1 << 16
_MOST = 0xFFFF  # of each of the two counts of a word; they stay there


@kernel
def _short(key: np.uint64) -> np.uint32:
    """A 64-bit key folded to 32 bits; 0 for an item without one, and of no other.

    Among 64 remembered items and 200 candidates two share one once in 300,000 requests.
    """
    half = np.uint32((key >> np.uint64(32)) ^ (key & np.uint64(0xFFFFFFFF)))
    return half if half != 0 or key == 0 else np.uint32(1)


@kernel
def _place_of(keys: UInt32, n: int, key: np.uint32) -> int:
    """Where a key stands among the first `n`, -1 if nowhere. Without a way out it is done many at a time."""
    found = -1
    for p in range(n):
        if keys[p] == key:
            found = p
    return found


@kernel
def _seconds(ts: int) -> np.uint32:
    return np.uint32(min(max(ts // 1_000, 0), 0xFFFFFFFF))


@kernel
def _see(record: UInt32, length: UInt8, user: int, key: np.uint32, at: np.uint32, one: int) -> None:
    """Count one of something for an item; beyond the width the least recent one makes room."""
    n = int(np.int64(length[user]))  # of a byte `int` makes an unsigned one
    place = _place_of(record[_KEY], n, key)
    if place < 0:
        if n < record.shape[1]:
            place = n
            length[user] = n + 1
        else:
            place = 0
            for p in range(1, n):
                if record[_AT, p] < record[_AT, place]:
                    place = p
        record[_KEY, place], record[_AT, place], record[_COUNTS, place] = key, 0, 0
    # Blocks are in order of arrival, not of time.
    record[_AT, place] = max(record[_AT, place], at)
    shift = 16 if one == _CLICK_ONE else 0
    if (record[_COUNTS, place] >> np.uint32(shift)) & np.uint32(_MOST) < _MOST:
        record[_COUNTS, place] += np.uint32(one)


@kernel
def add_seen(
    kind: Int8,
    slate: Int32,
    start: Int32,
    slate_user: Int32,
    place_keys: UInt64,
    user: Int32,
    keys: UInt64,
    first: npt.NDArray[np.bool_],
    reward: Float64,
    ts: Int64,
    records: UInt32,
    length: UInt8,
    flags: UInt8,
    marked: Int32,
    size: Int64,
) -> None:
    """Count a block's impressions and clicks for its users, in order; signals and dislikes are neither.

    `place_keys` (N,) are keys of shown places, `keys` (O,) those of clicked items, 0 where there is none;
    `records` (users, 3, W), `length` (users,).
    """
    for o in range(kind.size):
        if kind[o] == SHOWN:
            who = slate_user[slate[o]]
            # The next list's user: a record takes longer to come than one list takes here.
            if o + 2 < kind.size and kind[o + 2] == SHOWN:
                prefetch_row(records, slate_user[slate[o + 2]])
            if who < 0:
                continue
            at = _seconds(ts[o])
            for n in range(start[slate[o]], start[slate[o] + 1]):
                if place_keys[n] != 0:
                    _see(records[who], length, who, _short(place_keys[n]), at, _SHOWN_ONE)
            mark(flags, marked, size, who)
            continue
        is_click = kind[o] == ORGANIC or (kind[o] == CLICK and first[o])
        if is_click and reward[o] > 0.0 and user[o] >= 0 and keys[o] != 0:
            who = user[o]
            _see(records[who], length, who, _short(keys[o]), _seconds(ts[o]), _CLICK_ONE)
            mark(flags, marked, size, who)


@kernel
def seen_features(record: UInt32, n: int, keys: UInt64, now_ms: int, out: Float32) -> None:
    """Features (m, 3) of items with `keys` (m,) for the user of a `record` (3, W): log times shown, log
    clicks, and log seconds since either, NaN for an item that the record does not have."""
    now = _seconds(now_ms)
    for m in range(keys.size):
        place = _place_of(record[_KEY], n, _short(keys[m])) if keys[m] != 0 else -1
        if place < 0:
            out[m, 0], out[m, 1], out[m, 2] = 0.0, 0.0, np.nan
            continue
        counts, at = record[_COUNTS, place], record[_AT, place]
        out[m, 0] = np.log(1.0 + np.float64(counts & np.uint32(_MOST)))
        out[m, 1] = np.log(1.0 + np.float64(counts >> np.uint32(16)))
        out[m, 2] = np.log(1.0 + (np.float64(now) - np.float64(at) if now > at else 0.0))


@kernel
def add_touches(
    kind: Int8,
    user: Int32,
    keys: UInt64,
    first: npt.NDArray[np.bool_],
    reward: Float64,
    ts: Int64,
    gap_ms: int,
    records: UInt32,
    length: UInt8,
    last_ms: Int64,
    flags: UInt8,
    marked: Int32,
    size: Int64,
) -> None:
    """Put what users touch behind what they touched before, in order: clicks, and signals; no dislikes.

    `records` (users, 2, W) hold keys and counts, the newest item last: touches in the lower half of a word,
    rewarded clicks in the upper one. A user who touched nothing for `gap_ms` begins anew.
    """
    width = records.shape[2]
    for o in range(kind.size):
        if not (kind[o] == ORGANIC or kind[o] == CLICK) or reward[o] < 0.0 or user[o] < 0 or keys[o] == 0:
            continue
        if reward[o] > 0.0 and kind[o] == CLICK and not first[o]:
            continue
        who, key = user[o], _short(keys[o])
        record = records[who]
        if length[who] > 0 and ts[o] - last_ms[who] > gap_ms:
            record[:] = 0
            length[who] = 0
        n = int(np.int64(length[who]))
        place, counts = _place_of(record[0], n, key), np.uint32(0)
        if place >= 0:
            counts = record[1, place]
        elif n == width:
            place = 0  # the oldest makes room
        else:
            place = n
            n += 1
            length[who] = n
        for p in range(place, n - 1):
            record[0, p], record[1, p] = record[0, p + 1], record[1, p + 1]
        if counts & np.uint32(_MOST) < _MOST:
            counts += np.uint32(1)
        if reward[o] > 0.0 and counts >> np.uint32(16) < _MOST:
            counts += np.uint32(_CLICK_ONE)
        record[0, n - 1], record[1, n - 1] = key, counts
        last_ms[who] = max(last_ms[who], ts[o])
        mark(flags, marked, size, who)


@kernel
def session_features(record: UInt32, n: int, keys: UInt64, is_list: bool, out: Float32) -> None:
    """Features (m, 6) of items with `keys` (m,) for the session in a `record` (2, W) with `n` items.

    In order: whether the item was touched last; log touches; log clicks; and, where the keys are a list in
    its order that has the item touched last, whether this one stands just below it, whether above it, and
    minus the log of how far from it. Those three are NaN otherwise.
    """
    last, at = np.uint32(0), -1
    if n > 0:
        last = record[0, n - 1]
    for m in range(keys.size):
        key = _short(keys[m])
        place = _place_of(record[0], n, key) if key != 0 else -1
        counts = record[1, place] if place >= 0 else np.uint32(0)
        out[m, 0] = 1.0 if n > 0 and key == last else 0.0
        out[m, 1] = np.log(1.0 + np.float64(counts & np.uint32(_MOST)))
        out[m, 2] = np.log(1.0 + np.float64(counts >> np.uint32(16)))
        if is_list and at < 0 and n > 0 and key == last:
            at = m
    for m in range(keys.size):
        if at < 0:
            out[m, 3:6] = np.nan
        else:
            out[m, 3] = 1.0 if m == at + 1 else 0.0
            out[m, 4] = 1.0 if m < at else 0.0
            out[m, 5] = -np.log(1.0 + abs(m - at))
